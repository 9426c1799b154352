//! Istio's traffic simulation: every case of the shared data is fed to the translation, and what a
//! described call meets is compared with what it meets in Istio. Skipped, and said so, where the data
//! is absent.
//!
//! `docs/conformance.md` has how many pass and why the others do not; `UPDATE_GOLDEN=1` writes it. A
//! case that is not on its list of exceptions must pass.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "simulation/case.rs"]
mod case;
#[path = "simulation/check.rs"]
mod check;
#[path = "support/conformance.rs"]
mod conformance;
#[path = "simulation/exceptions.rs"]
mod exceptions;
#[path = "simulation/own.rs"]
mod own;

use std::collections::BTreeMap;
use std::fmt::Write;

use case::SimulationCase;
use exceptions::EXCEPTIONS;

#[test]
fn what_calls_meet_is_what_they_meet_in_istio() {
    let cases = SimulationCase::all();
    if cases.is_empty() {
        eprintln!(
            "SKIPPED: no shared/data/istio/simulation; the golden cases cover the same ground"
        );
        return;
    }
    let wanted = std::env::var("SIMULATION").ok();
    let mut failures = BTreeMap::new();
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in &cases {
        if wanted
            .as_ref()
            .is_some_and(|it| !case.path.contains(it.as_str()))
        {
            continue;
        }
        let wrong = check::check(case);
        let (passed, total) = groups.entry(case.group()).or_default();
        *total += 1;
        if wrong.is_empty() {
            *passed += 1;
        } else {
            failures.insert(case.path.as_str(), wrong);
        }
    }
    let (passed, total) = groups
        .values()
        .fold((0, 0), |(passed, total), it| (passed + it.0, total + it.1));
    for (path, wrong) in &failures {
        eprintln!("{path}:");
        wrong.iter().for_each(|it| eprintln!("    {it}"));
    }
    eprintln!("{passed} of {total} cases pass");
    if wanted.is_some() {
        return;
    }
    let unexpected: Vec<_> = failures
        .keys()
        .filter(|path| !EXCEPTIONS.iter().any(|(listed, _)| listed == *path))
        .collect();
    assert!(
        unexpected.is_empty(),
        "these passed before: {unexpected:#?}"
    );
    for (path, _) in EXCEPTIONS {
        assert!(
            failures.contains_key(path),
            "{path} passes now; take it off the list"
        );
    }
    let text = document(&groups, passed, total);
    conformance::hold("# Conformance", &text);
}

#[test]
fn what_calls_meet_is_what_our_own_cases_say() {
    let wanted = std::env::var("SIMULATION").ok();
    let is_wanted = |it: &&SimulationCase| {
        let part = wanted.as_ref();
        part.is_none_or(|part| it.path.contains(part))
    };
    let cases = own::all();
    let mut failures = String::new();
    for case in cases.iter().filter(is_wanted) {
        let wrong = check::check(case);
        if !wrong.is_empty() {
            writeln!(failures, "{}:\n    {}", case.path, wrong.join("\n    ")).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    if wanted.is_none() {
        conformance::hold("# Cases of our own", &own_document(&cases));
    }
}

fn own_document(cases: &[SimulationCase]) -> String {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        *files.entry(case.group()).or_default() += 1;
    }
    let mut text = format!(
        "# Cases of our own\n\n\
         What Istio's other tests hold about traffic, in our words: its unit tests of routes, listeners,\n\
         clusters, endpoints, Sidecars, delegates and rules, and the calls of its integration tests. They lie in\n\
         `crates/control/translate/tests/simulation/cases` and are run by the same test.\n\n\
         **All {} cases pass.**\n\n| file | cases |\n|---|---|\n",
        cases.len()
    );
    for (file, count) in files {
        writeln!(text, "| {file} | {count} |").unwrap();
    }
    text
}

fn document(groups: &BTreeMap<&str, (usize, usize)>, passed: usize, total: usize) -> String {
    let mut text = format!(
        "# Conformance\n\n\
         What a call meets in the configuration that Meltemi makes, compared with what it meets in Istio's:\n\
         the cases of Istio's own traffic simulation (`pilot/pkg/networking/core/*_simulation_test.go`), run by\n\
         `cargo test -p meltemi-translate --test simulation`, which also writes this page (`UPDATE_GOLDEN=1`).\n\n\
         **{passed} of {total} cases pass.**\n\n| group | passed | total |\n|---|---|---|\n"
    );
    for (group, (passed, total)) in groups {
        writeln!(text, "| {group} | {passed} | {total} |").unwrap();
    }
    text.push_str("\n## What does not pass, and why\n\n");
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, reason) in EXCEPTIONS {
        by_reason.entry(reason).or_default().push(path);
    }
    for (reason, mut paths) in by_reason {
        paths.sort_unstable();
        writeln!(text, "- {reason}:").unwrap();
        for path in paths {
            writeln!(text, "  - `{path}`").unwrap();
        }
    }
    text
}
