//! A bootstrap of any text is read or refused with a reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = meltemi_config::bootstrap_from_yaml(text, "fuzz") {
        assert!(!errors.to_string().is_empty());
    }
});
