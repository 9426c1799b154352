//! Tokens and key sets: any text is taken apart or refused, and no text is a token that a key
//! signed which nobody has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_jwt::{KeySet, Token, at_path};

/// Keys of each kind, of which nobody has the private half.
const KEYS: &[u8] = include_bytes!("../seeds/keys.json");

fuzz_target!(|input: (&str, &[u8], u64)| {
    let (text, keys, now) = input;
    let fuzzed = KeySet::parse(keys);
    let Ok(token) = Token::parse(text) else {
        return;
    };
    let at = token.check_time(now, 60);
    let is_over = token.expiry != 0 && now > token.expiry.saturating_add(60);
    assert!(!is_over || at.is_err(), "it let in what has expired");
    assert!(at_path(&token.payload, []).is_none());
    let known = KeySet::parse(KEYS).expect("the keys are valid");
    assert!(known.verify(&token).is_err(), "signed by nobody");
    if let Ok(keys) = fuzzed {
        assert!(!keys.is_empty());
        // any answer will do, since the text may be signed with a key of its own
        let _ = keys.verify(&token);
    }
});
