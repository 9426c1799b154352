//! Real manifests: every resource of Istio in the shared data is valid, or has only problems that
//! say that something is not supported yet.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use meltemi_model::{Defaults, ProblemKind, convert};

fn yaml_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|it| it == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn the_books_resources_are_valid_or_not_supported_yet() {
    let directory = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../../shared/data/book"
    ));
    if !directory.is_dir() {
        eprintln!(
            "SKIPPED: {} is not there; tests/cases covers the same ground",
            directory.display()
        );
        return;
    }
    let mut files = Vec::new();
    yaml_files(directory, &mut files);
    let (mut valid, mut wrong) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents = match meltemi_api::parse(Some(file.as_path().into()), &text) {
            Ok(documents) => documents,
            Err(problem) => {
                wrong.push(*problem);
                continue;
            }
        };
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
    }
    let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(valid > 70, "only {valid} resources are valid");
}
