//! The boundary of the analyzers: each file of `tests/cases` is analyzed, and the messages are
//! compared with the golden file beside it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meltemi_analyze::{Code, Message, analyze, analyzers};
use meltemi_model::Defaults;

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    paths.sort();
    paths
}

fn messages(path: &Path) -> Vec<Message> {
    let text = std::fs::read_to_string(path).unwrap();
    let file: Arc<Path> = Path::new(path.file_name().unwrap()).into();
    analyze(
        &meltemi_api::parse(Some(file), &text).unwrap(),
        &Defaults::default(),
    )
}

#[test]
fn messages_are_as_written_down() {
    for path in cases() {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let lines: Vec<_> = messages(&path).iter().map(Message::to_string).collect();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("cases");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
    }
}

#[test]
fn every_code_has_a_case() {
    let seen: BTreeSet<Code> = (cases().iter())
        .flat_map(|path| messages(path))
        .map(|message| message.code)
        .collect();
    let missing: Vec<_> = Code::ALL.iter().filter(|it| !seen.contains(it)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn analyzers_have_names_of_their_own() {
    let names: BTreeSet<_> = analyzers().iter().map(|it| it.name).collect();
    assert_eq!(names.len(), analyzers().len());
}
