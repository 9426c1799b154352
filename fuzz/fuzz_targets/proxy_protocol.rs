//! PROXY protocol: any bytes give an answer, and what a prefix settled stays settled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_net::{Inspection, inspect_proxy};

fuzz_target!(|bytes: &[u8]| {
    let whole = inspect_proxy(bytes);
    if let Ok(Inspection::Is(header)) = &whole {
        assert!(header.length <= bytes.len());
        // The header says how long it is, and what follows it is not looked at.
        assert_eq!(inspect_proxy(&bytes[..header.length]), whole);
    }
    let prefix = inspect_proxy(&bytes[..bytes.len() / 2]);
    if prefix != Ok(Inspection::More) {
        assert_eq!(prefix, whole);
    }
});
