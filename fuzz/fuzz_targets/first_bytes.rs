//! HTTP inspection: any bytes give an answer, and what a prefix settled stays settled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_net::{Inspection, inspect_http};

fuzz_target!(|bytes: &[u8]| {
    let whole = inspect_http(bytes);
    let prefix = inspect_http(&bytes[..bytes.len() / 2]);
    if !matches!(prefix, Inspection::More) {
        assert_eq!(prefix, whole);
    }
});
