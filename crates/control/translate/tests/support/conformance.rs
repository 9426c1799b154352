//! The page that says how much of Istio's own cases pass, of which several tests write a part each.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/conformance.md");

/// The headings that parts begin with, in the order of the page.
const PARTS: [&str; 3] = ["# Conformance", "# Cases of our own", "# Authorization"];

/// Holds the part of the page that begins with `heading` to `made`, or writes it with
/// `UPDATE_GOLDEN=1`.
pub fn hold(heading: &str, made: &str) {
    let written = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    let begins = |line: &str| PARTS.iter().find(|it| line.strip_prefix(**it) == Some(""));
    let mut parts = vec![String::new(); PARTS.len()];
    let mut at = 0;
    for line in written.lines() {
        if let Some(part) = begins(line) {
            at = PARTS.iter().position(|it| it == part).unwrap();
        }
        parts[at].push_str(line);
        parts[at].push('\n');
    }
    let mine = PARTS.iter().position(|it| *it == heading).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        made.clone_into(&mut parts[mine]);
        let parts = parts.iter().map(|it| it.trim_end());
        let page: Vec<_> = parts.filter(|it| !it.is_empty()).collect();
        std::fs::write(DOCUMENT, page.join("\n\n") + "\n").unwrap();
        return;
    }
    assert!(
        parts[mine].trim_end() == made.trim_end(),
        "docs/conformance.md is not up to date: run with UPDATE_GOLDEN=1"
    );
}
