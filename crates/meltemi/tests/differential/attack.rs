//! Attacks on `meltemi proxy`, none of which may get through.
//!
//! Each file of `tests/attack` is an Envoy configuration and cases, as those of
//! `tests/differential` are. What Envoy makes of them is of no matter: a case says what must come
//! of it here, and above all how many requests reach the server behind the proxy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::program::Program;
use crate::run::Run;
use crate::{AT_ONCE, files_in, pki, suite_in};

/// The files.
const FILES: &[&str] = &[
    "authorizers",
    "http2",
    "identities",
    "paths",
    "requests",
    "tokens",
];

/// How many cases there are at least.
const LEAST: usize = 250;

/// The directory of the cases.
fn attacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/attack")
}

#[test]
fn all_attacks_are_tried() {
    let tried: BTreeSet<_> = FILES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(files_in(&attacks()), tried);
    let cases = FILES
        .iter()
        .map(|name| suite_in(&attacks(), name).cases.len());
    let cases: usize = cases.sum();
    assert!(cases >= LEAST, "{cases} cases");
}

#[tokio::test]
async fn attacks_on_paths() {
    attack("paths").await;
}

#[tokio::test]
async fn attacks_by_headers_hosts_and_framing() {
    attack("requests").await;
}

#[tokio::test]
async fn attacks_on_identities() {
    attack("identities").await;
}

#[tokio::test]
async fn attacks_by_tokens() {
    attack("tokens").await;
}

#[tokio::test]
async fn attacks_on_authorizers() {
    attack("authorizers").await;
}

#[tokio::test]
async fn attacks_by_frames_of_http2() {
    attack("http2").await;
}

/// Runs a file of cases; fails where one of them gets through.
async fn attack(name: &str) {
    let _permit = AT_ONCE.acquire().await.unwrap();
    let suite = suite_in(&attacks(), name);
    let pki = pki();
    let directory = tempfile::tempdir().unwrap();
    let program = Program::Meltemi;
    let mut run = Run::start(program, &suite.config, &suite, &pki, directory.path());
    let mut problems = Vec::new();
    for (number, case) in suite.cases.iter().enumerate() {
        let seen = run.case(case, number).await;
        if !seen.unexpected.is_empty() {
            problems.extend(seen.unexpected);
            problems.push(format!("    {}", seen.observation.lines.join("\n    ")));
        }
    }
    assert!(
        problems.is_empty(),
        "{name}.yaml\n{}\nmeltemi wrote:\n{}",
        problems.join("\n"),
        run.complaints()
    );
}
