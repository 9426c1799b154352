//! Text that is taken for plain YAML is read as the library of all of YAML reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_config::yaml::Document;
use serde::Deserialize as _;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Some(document) = Document::plain(text) else {
        return;
    };
    let ours = Value::deserialize(document).expect("a tree takes everything");
    match serde_saphyr::from_str::<Value>(text) {
        // numbers as they are written: 1.0 is not 1
        Ok(theirs) => assert_eq!(ours.to_string(), theirs.to_string()),
        Err(error) => panic!("read as {ours}, and is no YAML: {error}"),
    }
});
