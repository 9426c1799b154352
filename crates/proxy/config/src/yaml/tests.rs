//! Whatever is read here is read as the library reads it.

use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::Value;

use super::Document;

fn plain(text: &str) -> Option<Value> {
    Document::plain(text).map(|document| Value::deserialize(document).unwrap())
}

/// Whether the text is plain; if it is, it must be read as the library reads it.
fn agree(text: &str) -> bool {
    let Some(ours) = plain(text) else {
        return false;
    };
    let theirs = serde_saphyr::from_str::<Value>(text);
    match theirs {
        // numbers are compared as they are written: 1.0 is not 1
        Ok(theirs) => assert_eq!(ours.to_string(), theirs.to_string(), "{text}"),
        Err(error) => panic!("{text}\nwas read as {ours}, and is no YAML: {error}"),
    }
    true
}

#[test]
fn what_most_people_write_is_plain() {
    let texts = [
        "a: 1\nb: two words\nc:\n  d: -5\n  e: 0.25s\n",
        "---\na: 1",
        "# first\n\na: # second\n  # third\n  b: c # fourth\n\n  d: e#f\n",
        "a:\n- b\n- c: 1\n  d: 2\n-\n  e: f\n- - g\n  - h\n-   i: 1\n    j: 2\nk: l",
        "a:\n  - b\n  -\n  - null\nc:\nd:",
        "a: { b: c, \"d\":1, 'e': [f, 2, \"g,h\"], i: {}, j: [] }\nk: []",
        "a: 10.0.0.0/8\nb: 127.0.0.1\nc: 1.5\nd: 10m\ne: true\nf: false\ng: 1.26.0",
        "a: \"x: y # z\"\nb: 'x: y # z'\n\"c d\" : e\n'f: g': h\n",
        "a: http://b/c?d=e:f\nb: [http://b, c::d]\n",
        "a: \"one\\ntwo \\\"three\\\"\"\nb: ^/x(/.*)?$\nc: \\d+\n",
        "- a\n- 1\n- [b]\n- {c: d}\n",
        "{\n\"a\": [1, 2.5, true, null, \"b\\\\c\"],\n  \"d\":{\"e\":{}}}\n",
        "[\n]",
        "a-b/c.d_e: 1\nx y: 2\nzebra, [x] {y}: 3",
    ];
    for text in texts {
        assert!(agree(text), "{text}");
    }
}

#[test]
fn what_is_out_of_the_ordinary_is_left_to_the_library() {
    let texts = [
        "",
        "# nothing",
        "a: &x 1\nb: *x",
        "a: !!str 1",
        "a: |\n  b",
        "a: >-\n  b",
        "? a\n: b",
        "a: 1\n---\nb: 2",
        "a: 1\n...\n",
        "%YAML 1.2\n---\na: 1",
        "a: b\n  c",
        "a: \"b\n  c\"",
        "a: yes",
        "a: Off",
        "on: 1",
        "1: a",
        "null: a",
        "a: 0x1F",
        "a: 0o7",
        "a: 017",
        "a: 1e5",
        "a: .5",
        "a: +1",
        "a: -.inf",
        "a: ~",
        "a: 1_000",
        "a: 12:30",
        "a: 2001-01-01",
        "a: -0",
        "a: 'it''s'",
        "a: \"\\u0041\"",
        "a:\tb",
        "a: ü",
        "a: b\r\n",
        "<<: {a: 1}",
        "a: b: c",
        "a: 1\na: 2",
        "{a: 1, a: 2}",
        "a: {b: 1,}",
        "a: [1,]",
        "a: [b: c]",
        "a: {b}",
        "a: {b:c}",
        "a: [b\n  ]",
        "a: 1\n b: 2",
        "  a: 1\nb: 2",
        "a:\n  b: 1\n c: 2",
        "- a\nb: c",
        "a: b\n- c",
        "a: - b",
        "a: @b",
        "a: `b`",
        "a: 'b' c",
        "a: [b] c",
        "a: }",
        "a: ,b",
        "a: #",
        "a: 'b",
        "[a",
        "{a: 1}\nb",
        "a: = ",
        "a: 99999999999999999999",
    ];
    for text in texts {
        // A comment alone is a null, and so on: where a text is taken all the same, it agrees.
        let known = ["a: #"].contains(&text);
        assert_eq!(agree(text), known, "{text}");
    }
}

fn value() -> impl Strategy<Value = String> {
    let plain = [
        "a",
        "b c",
        "1",
        "-3",
        "0.5",
        "1.2.3.4",
        "5s",
        "true",
        "null",
        "on",
        "~",
        "",
        "x#y",
        "x #y",
        "a: b",
        "a:b",
        "\"q\"",
        "'q'",
        "\"q: r\"",
        "'q",
        "\"\\n\"",
        "[]",
        "{}",
        "[a, 1]",
        "[a, [b]]",
        "{a: 1}",
        "{a: 1, b: {c: d}}",
        "{\"a\":1}",
        "{'a': [b]}",
        "[a,b]",
        "{a: 1,}",
        "[a: b]",
        "{a}",
        "|",
        "&a b",
        "*a",
        "!t b",
        "-",
        "- a",
        "/p/*",
        "a,b",
        "[a",
        "}",
        "1e3",
        "0x1",
        "01",
        "- - a",
        "a:",
        "- a: b",
        "{a: b}: c",
        "'k': v",
        "\"k\" : v",
        "k : v",
        ": v",
        "::",
        "a::b",
        "[::]",
        "- # c",
        "# c",
        "---",
        "...",
        "10m",
        "3h",
        "?",
        "? a",
        "{ a: , b: 1 }",
        "{:a: 1}",
        "[a ]",
    ];
    prop::sample::select(plain.to_vec()).prop_map(str::to_owned)
}

fn line() -> impl Strategy<Value = String> {
    let prefixes = ["", "", "", "- ", "-   ", "- - "];
    let keys = [
        "", "a: ", "b: ", "c: ", "\"d\": ", "'e': ", "f g: ", "a:", "on: ", "1: ",
    ];
    (
        0..5_usize,
        prop::sample::select(prefixes.to_vec()),
        prop::sample::select(keys.to_vec()),
        value(),
    )
        .prop_map(|(indent, prefix, key, value)| {
            format!("{}{prefix}{key}{value}", " ".repeat(indent))
        })
}

/// Lines of which each fits to the one before more often than not.
fn likely() -> impl Strategy<Value = String> {
    let keys = ["a", "b", "c", "d", "e"];
    let values = [
        "", "", "1", "x y", "\"q\"", "{a: 1}", "[a, b]", "-5", "5s # c",
    ];
    let line = (
        0..4_usize,
        prop::bool::ANY,
        prop::sample::select(keys.to_vec()),
        prop::sample::select(values.to_vec()),
    );
    prop::collection::vec(line, 1..8).prop_map(|lines| {
        let lines = lines.into_iter().map(|(indent, entry, key, value)| {
            let dash = if entry { "- " } else { "" };
            format!("{}{dash}{key}: {value}\n", "  ".repeat(indent))
        });
        lines.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_lines_are_read_as_the_library_reads_them(lines in prop::collection::vec(line(), 1..6)) {
        agree(&lines.join("\n"));
    }

    #[test]
    fn likely_lines_are_read_as_the_library_reads_them(text in likely()) {
        agree(&text);
    }

    #[test]
    fn any_flow_is_read_as_the_library_reads_it(values in prop::collection::vec(value(), 0..5)) {
        agree(&format!("a: [{}]", values.join(", ")));
        agree(&format!("{{{}}}", values.join(",")));
        agree(&format!("[\n{}\n]", values.join("\n,")));
    }
}
