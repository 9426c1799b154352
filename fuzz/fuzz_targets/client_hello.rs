//! TLS inspection: any bytes give an answer, and more bytes never take a found name back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_net::{Inspection, inspect_tls};

fuzz_target!(|bytes: &[u8]| {
    let whole = inspect_tls(bytes);
    // What a prefix settled, the rest cannot change.
    let prefix = inspect_tls(&bytes[..bytes.len() / 2]);
    if !matches!(prefix, Inspection::More) {
        assert_eq!(prefix, whole);
    }
});
