//! Sizes and names of files and functions, and fields that conversions leave out.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The longest file, in lines; tests aside.
const FILE_LINES: usize = 600;

/// The longest function, in lines; tests aside.
const FUNCTION_LINES: usize = 100;

/// File names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = [
    "common.rs",
    "utils.rs",
    "util.rs",
    "types.rs",
    "helpers.rs",
    "mod.rs",
];

/// Every finding in the workspace's Rust sources.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("xtask/tidy-exceptions.txt"))?;
    let exceptions: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut found = BTreeSet::new();
    let mut findings = Vec::new();
    for path in super::tracked(root, "*.rs")? {
        let text = std::fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
        for finding in check_file(&path, &text) {
            if exceptions.contains(&finding.key) {
                found.insert(finding.key);
            } else {
                findings.push(finding.message);
            }
        }
    }
    for stale in exceptions.difference(&found) {
        findings.push(format!(
            "xtask/tidy-exceptions.txt: {stale} is not needed any more"
        ));
    }
    Ok(findings)
}

struct Finding {
    /// As it stands in the list of exceptions.
    key: String,
    message: String,
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |key: String, message: String| findings.push(Finding { key, message });
    let name = path.rsplit('/').next().unwrap_or(path);
    if EMPTY_NAMES.contains(&name) {
        find(
            format!("name {path}"),
            format!("{path}: a name that says nothing of what is inside"),
        );
    }
    if is_test(path) {
        return findings;
    }
    let code = without_tests(text);
    let count = code.len();
    if count > FILE_LINES {
        find(
            format!("file-lines {path}"),
            format!("{path}: {count} lines; at most {FILE_LINES} fit in a head"),
        );
    }
    if !text.starts_with("//!") {
        find(
            format!("head {path}"),
            format!("{path}: a module opens with //!, saying what enters and leaves"),
        );
    }
    for (function, lines) in functions(&code)
        .into_iter()
        .filter(|(_, lines)| *lines > FUNCTION_LINES)
    {
        find(
            format!("function-lines {path}:{function}"),
            format!("{path}: {function} has {lines} lines; at most {FUNCTION_LINES}"),
        );
    }
    for (index, line) in code.iter().enumerate() {
        let number = index + 1;
        let trimmed = line.trim_start();
        if path.starts_with("crates/")
            && trimmed.contains(": _,")
            && !trimmed.starts_with("//")
            && !says_why(&code, index)
        {
            find(
                format!("bare {path}:{number}"),
                format!("{path}:{number}: a field left out says why: `// ignored: ...`"),
            );
        }
        if trimmed.starts_with("use crate::*") || trimmed.starts_with("use super::*") {
            find(
                format!("glob {path}:{number}"),
                format!("{path}:{number}: names are imported one by one"),
            );
        }
    }
    if name == "lib.rs" && functions(&code).iter().any(|(name, _)| name != "tests") {
        find(
            format!("lib {path}"),
            format!("{path}: lib.rs holds documentation, modules and re-exports only"),
        );
    }
    findings
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

/// The lines before the file's test module.
fn without_tests(text: &str) -> Vec<&str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .collect()
}

/// Why a field is left out stands on its line, or on the lines of comment above its group.
fn says_why(code: &[&str], index: usize) -> bool {
    if code[index].contains("// ignored:") {
        return true;
    }
    let mut above = code[..index].iter().rev();
    above
        .by_ref()
        .take_while(|line| line.trim_start().starts_with("//") || line.trim_end().ends_with(": _,"))
        .any(|line| line.contains("// ignored:"))
}

/// Functions with their lengths in lines, by rustfmt's layout: the closing brace stands
/// under the line that opens.
fn functions(code: &[&str]) -> Vec<(String, usize)> {
    let mut functions = Vec::new();
    for (start, line) in code.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let one_line = line.trim_end().ends_with('}') || line.trim_end().ends_with(';');
        let end = code[start..]
            .iter()
            .position(|line| line.trim_end() == close);
        let length = if one_line { 1 } else { end.unwrap_or(0) + 1 };
        functions.push((name, length));
    }
    functions
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for word in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "unsafe ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    Some(name[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str, text: &str) -> Vec<String> {
        check_file(path, text)
            .into_iter()
            .map(|finding| finding.key)
            .collect()
    }

    #[test]
    fn long_functions_and_files_are_found() {
        let long = format!("//! A.\nfn long() {{\n{}}}\n", "    x();\n".repeat(120));
        assert_eq!(keys("a/b.rs", &long), ["function-lines a/b.rs:long"]);
        let big = format!("//! A.\n{}", "const A: u8 = 0;\n".repeat(700));
        assert_eq!(keys("a/b.rs", &big), ["file-lines a/b.rs"]);
        let tested = format!("//! A.\n#[cfg(test)]\n{}", "x\n".repeat(700));
        assert!(keys("a/b.rs", &tested).is_empty());
    }

    #[test]
    fn a_field_left_out_says_why() {
        let text = "//! A.\nlet A {\n    // ignored: of no use\n    b: _,\n    c: _,\n} = a;\nlet D {\n    e: _,\n} = d;\n";
        assert_eq!(keys("crates/b.rs", text), ["bare crates/b.rs:8"]);
    }

    #[test]
    fn names_say_something() {
        assert_eq!(keys("a/utils.rs", "//! A.\n"), ["name a/utils.rs"]);
        assert_eq!(keys("a/b.rs", "fn a() {}\n"), ["head a/b.rs"]);
    }
}
