//! Real manifests: every resource of Istio in the shared data is valid, or has only problems that
//! say that something is not supported yet.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meltemi_model::{Defaults, Problem, ProblemKind, convert};

/// The YAML files of the shared data below `name`; none, said loudly, if it is absent.
fn shared_files(name: &str) -> Vec<PathBuf> {
    let shared = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../../shared/data"
    ));
    let directory = shared.join(name);
    let mut found = Vec::new();
    if directory.is_dir() {
        collect(&directory, &mut found);
    } else {
        eprintln!(
            "SKIPPED: no {}; tests/cases covers the same ground",
            directory.display()
        );
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(path);
        }
    }
}

/// How many resources of a text are valid; what is wrong with the others goes to `wrong`.
fn judge(file: &Path, text: &str, wrong: &mut Vec<Problem>) -> usize {
    let file: Arc<Path> = file.into();
    let documents = match meltemi_api::parse(Some(file), text) {
        Ok(documents) => documents,
        Err(problem) => {
            wrong.push(*problem);
            return 0;
        }
    };
    let mut valid = 0;
    // A document without a kind is an Envoy configuration.
    for document in documents.into_iter().filter(|it| !it.kind.is_empty()) {
        match convert(&document, &Defaults::default()) {
            Ok(_) => valid += 1,
            Err(problems) => wrong.extend(problems.into_iter().filter(|problem| {
                !matches!(
                    problem.kind,
                    ProblemKind::Unsupported | ProblemKind::UnsupportedKind
                )
            })),
        }
    }
    valid
}

fn assert_right(wrong: &[Problem]) {
    let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_books_resources_are_valid_or_not_supported_yet() {
    let (mut valid, mut wrong) = (0, Vec::new());
    let files = shared_files("book");
    for file in &files {
        valid += judge(file, &std::fs::read_to_string(file).unwrap(), &mut wrong);
    }
    assert_right(&wrong);
    assert!(
        files.is_empty() || valid > 70,
        "only {valid} resources are valid"
    );
}

#[test]
fn the_simulations_resources_are_valid_or_not_supported_yet() {
    let (mut valid, mut wrong) = (0, Vec::new());
    let files = shared_files("istio/simulation");
    for file in &files {
        let case = meltemi_api::parse(None, &std::fs::read_to_string(file).unwrap()).unwrap();
        for key in ["config", "kube"] {
            let text = case[0]
                .root()
                .get(key)
                .and_then(|node| node.as_text())
                .unwrap_or_default();
            valid += judge(file, text, &mut wrong);
        }
    }
    assert_right(&wrong);
    assert!(
        files.is_empty() || valid > 100,
        "only {valid} resources are valid"
    );
}
