//! Tokens of every algorithm, and those that must not get through.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meltemi_testkit::TokenSigner;
use serde_json::{Value, json};

use crate::{Failure, KeySet, MOST_BYTES, Token, at_path};

const ALGORITHMS: [(&str, &str); 13] = [
    ("RS256", "rsa"),
    ("RS384", "rsa"),
    ("RS512", "rsa"),
    ("PS256", "rsa"),
    ("PS384", "rsa"),
    ("PS512", "rsa"),
    ("ES256", "p256"),
    ("ES384", "p384"),
    ("ES512", "p521"),
    ("EdDSA", "ed25519"),
    ("HS256", "secret"),
    ("HS384", "secret"),
    ("HS512", "secret"),
];

fn claims() -> Value {
    json!({ "iss": "https://issuer", "sub": "someone", "aud": ["a", "b"], "exp": 4_000_000_000_u64 })
}

fn set(keys: &Value) -> Result<KeySet, Failure> {
    KeySet::parse(keys.to_string().as_bytes())
}

#[test]
fn every_algorithm_is_verified_and_by_its_own_key_alone() {
    let signer = TokenSigner::new();
    for (algorithm, key) in ALGORITHMS {
        let text = signer.token(&json!({ "alg": algorithm, "kid": key }), &claims());
        let token = Token::parse(&text).expect("it is well-formed");
        let all = set(&signer.key_set()).expect("the keys are usable");
        assert_eq!(all.verify(&token), Ok(()), "{algorithm}");

        let mut other = text.clone();
        let last = other.pop().expect("it has an end");
        // The last character of these lengths has bits to spare, hence the one before it.
        let before = other.pop().expect("it has an end");
        other.push(if before == 'A' { 'B' } else { 'A' });
        other.push(last);
        let other = Token::parse(&other).expect("it is well-formed");
        assert_eq!(
            all.verify(&other),
            Err(Failure::Verification),
            "{algorithm}"
        );

        // Without ids, every key is tried, and none but the right one will do.
        for (_, wrong) in ALGORITHMS.iter().filter(|(_, wrong)| *wrong != key) {
            let mut wrong = signer.key(wrong);
            wrong.as_object_mut().expect("a key").remove("kid");
            let keys = set(&json!({ "keys": [wrong] })).expect("the key is usable");
            assert_eq!(
                keys.verify(&token),
                Err(Failure::Verification),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn a_key_is_used_with_its_own_id_and_algorithm() {
    let signer = TokenSigner::new();
    let token = |header: Value| Token::parse(&signer.token(&header, &claims())).expect("a token");
    let mut key = signer.key("rsa");
    key["alg"] = json!("RS256");
    let keys = set(&json!({ "keys": [key] })).expect("the key is usable");
    assert_eq!(
        keys.verify(&token(json!({ "alg": "RS256", "kid": "rsa" }))),
        Ok(())
    );
    assert_eq!(keys.verify(&token(json!({ "alg": "RS256" }))), Ok(()));
    let mismatch = Err(Failure::NoKeyMatches);
    assert_eq!(
        keys.verify(&token(json!({ "alg": "RS512", "kid": "rsa" }))),
        mismatch
    );
    assert_eq!(
        keys.verify(&token(json!({ "alg": "RS256", "kid": "other" }))),
        mismatch
    );
}

#[test]
fn a_public_key_is_no_secret() {
    let signer = TokenSigner::new();
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": "rsa" }).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()));
    let forged = TokenSigner::hmac(signer.rsa_public_der(), signed.as_bytes());
    let token = Token::parse(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(forged)));
    let keys = set(&json!({ "keys": [signer.key("rsa")] })).expect("the key is usable");
    assert_eq!(
        keys.verify(&token.expect("a token")),
        Err(Failure::Verification)
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let signer = TokenSigner::new();
    let fails = |header: &str, claims: &str| {
        Token::parse(&signer.token_of(header, claims, "ES256")).expect_err("it is refused")
    };
    for text in ["", "a.b", "a.b.c.d", "..", "a..c", ".b.c", "a.b."] {
        assert_eq!(Token::parse(text), Err(Failure::BadFormat), "{text:?}");
    }
    let good = r#"{"alg":"ES256"}"#;
    for (header, failure) in [
        ("nonsense", Failure::HeaderJson),
        ("[]", Failure::HeaderJson),
        (r#"{"alg":"ES256","alg":"none"}"#, Failure::HeaderJson),
        (r#"{"alg":"ES256"} {}"#, Failure::HeaderJson),
        ("{}", Failure::Algorithm),
        (r#"{"alg":1}"#, Failure::Algorithm),
        (r#"{"alg":"none"}"#, Failure::UnknownAlgorithm),
        (r#"{"alg":"None"}"#, Failure::UnknownAlgorithm),
        (r#"{"alg":"es256"}"#, Failure::UnknownAlgorithm),
        (r#"{"alg":"ES256","kid":1}"#, Failure::KeyId),
    ] {
        assert_eq!(fails(header, "{}"), failure, "{header}");
    }
    for (claims, failure) in [
        ("nonsense", Failure::PayloadJson),
        (r#"{"sub":"a","sub":"b"}"#, Failure::PayloadJson),
        (r#"{"deep":{"sub":"a","sub":"b"}}"#, Failure::PayloadJson),
        (r#"{"iss":1}"#, Failure::Issuer),
        (r#"{"sub":{}}"#, Failure::Subject),
        (r#"{"jti":1}"#, Failure::Id),
        (r#"{"iat":"1"}"#, Failure::IssuedAt),
        (r#"{"nbf":-1}"#, Failure::NotBeforeRange),
        (r#"{"exp":"1"}"#, Failure::Expiry),
        (r#"{"exp":1e30}"#, Failure::ExpiryRange),
        (r#"{"aud":1}"#, Failure::Audience),
        (r#"{"aud":["a",1]}"#, Failure::Audience),
    ] {
        assert_eq!(fails(good, claims), failure, "{claims}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    assert_eq!(fails(good, &deep), Failure::PayloadJson);
    assert_eq!(Token::parse("?.e30.e30"), Err(Failure::HeaderBase64));
    let header = URL_SAFE_NO_PAD.encode(good);
    assert_eq!(
        Token::parse(&format!("{header}.?.e30")),
        Err(Failure::PayloadBase64)
    );
    assert_eq!(
        Token::parse(&format!("{header}.e30.?")),
        Err(Failure::SignatureBase64)
    );
    let large = format!("{header}.{}.e30", "A".repeat(MOST_BYTES));
    assert_eq!(Token::parse(&large), Err(Failure::BadFormat));
}

#[test]
fn time_has_a_tolerance_at_both_ends() {
    let signer = TokenSigner::new();
    let claims = json!({ "nbf": 1_000, "exp": 2_000.9 });
    let token = Token::parse(&signer.token(&json!({ "alg": "ES256" }), &claims)).expect("a token");
    assert_eq!(token.check_time(939, 60), Err(Failure::NotYetValid));
    assert_eq!(token.check_time(940, 60), Ok(()));
    assert_eq!(token.check_time(2_060, 60), Ok(()));
    assert_eq!(token.check_time(2_061, 60), Err(Failure::Expired));
    let forever = Token::parse(&signer.token(&json!({ "alg": "ES256" }), &json!({})));
    assert_eq!(forever.expect("a token").check_time(u64::MAX, 60), Ok(()));
}

#[test]
fn unusable_keys_are_left_out() {
    let signer = TokenSigner::new();
    let fails = |keys: Value| set(&keys).err();
    assert_eq!(KeySet::parse(b"[]").err(), Some(Failure::KeySetJson));
    assert_eq!(fails(json!({})), Some(Failure::NoKeys));
    assert_eq!(fails(json!({ "keys": {} })), Some(Failure::BadKeys));
    assert_eq!(fails(json!({ "keys": [] })), Some(Failure::NoValidKeys));
    let change = |id: &str, name: &str, value: Value| {
        let mut key = signer.key(id);
        key[name] = value;
        key
    };
    for bad in [
        change("rsa", "alg", json!("ES256")),
        change("rsa", "alg", json!("none")),
        change("rsa", "e", json!("Ag")),
        change("rsa", "n", json!("AQAB")),
        change("p256", "crv", json!("P-384")),
        change("p256", "alg", json!("ES384")),
        change("p256", "x", json!("AQAB")),
        change("p256", "kty", json!("RSA")),
        change("ed25519", "x", json!("AQAB")),
        change("ed25519", "crv", json!("X25519")),
        change("secret", "k", json!("")),
        change("secret", "alg", json!("RS256")),
        change("secret", "kty", json!("other")),
    ] {
        assert_eq!(
            fails(json!({ "keys": [bad] })),
            Some(Failure::NoValidKeys),
            "{bad}"
        );
        let keys = set(&json!({ "keys": [bad, signer.key("p384")] }));
        assert_eq!(keys.expect("one key is usable").len(), 1);
    }
}

#[test]
fn claims_are_found_by_path() {
    let Value::Object(claims) = json!({ "a": { "b": [1] }, "c": 2 }) else {
        unreachable!("it is an object")
    };
    assert_eq!(at_path(&claims, ["a", "b"]), Some(&json!([1])));
    assert_eq!(at_path(&claims, ["c"]), Some(&json!(2)));
    assert_eq!(at_path(&claims, ["c", "d"]), None);
    assert_eq!(at_path(&claims, ["x"]), None);
}
