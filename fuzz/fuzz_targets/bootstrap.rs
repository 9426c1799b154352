//! A bootstrap of any text is read or refused, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = meltemi_config::bootstrap_from_yaml(text, "fuzz");
});
