//! The boundary of the model: each file of `tests/cases` is converted, and what comes out (problems,
//! or the resource) is compared with the golden file beside it.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use meltemi_model::{Defaults, Problem, ProblemKind, convert_in_part};

/// Converts every document of a case and writes down what comes out. Files whose names begin with
/// `valid` show the resources themselves.
fn check(path: &Path) {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let file: Arc<Path> = Path::new(path.file_name().unwrap()).into();
    let mut shown = String::new();
    match meltemi_api::parse(Some(file), &text) {
        Err(problem) => writeln!(shown, "{problem}").unwrap(),
        Ok(documents) => {
            for document in documents {
                let (config, problems) = convert_in_part(&document, &Defaults::default());
                let warning = |it: &Problem| it.kind == ProblemKind::Warning;
                match config.filter(|_| problems.iter().all(warning)) {
                    Some(config) if name.starts_with("valid") => {
                        writeln!(shown, "{config:#?}").unwrap();
                    }
                    Some(config) => writeln!(shown, "ok: {}", config.id()).unwrap(),
                    None => {}
                }
                for problem in problems {
                    let mark = if warning(&problem) { "warning: " } else { "" };
                    writeln!(shown, "{mark}{problem}").unwrap();
                }
            }
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("cases");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    assert!(!paths.is_empty());
    for path in paths {
        check(&path);
    }
}
