//! Each `tests/cases/KIND/NAME.yaml` is a resource of that kind; `NAME.golden` beside it holds what
//! becomes of it: the errors, one a line, or the value. Set `UPDATE_GOLDEN=1` to write them anew.

use std::path::{Path, PathBuf};

use meltemi_xds::json;
use prost::{Message, Name};

use crate::{
    ConfigErrors, bootstrap_from_yaml, cluster, listener, load_assignment, route_configuration,
    secret,
};

fn parse<M: Message + Name + Default>(text: &str) -> M {
    json::from_json(serde_saphyr::from_str(text).unwrap()).unwrap()
}

fn render<T: std::fmt::Debug>(result: Result<T, ConfigErrors>) -> String {
    match result {
        Ok(value) => format!("{value:#?}\n"),
        Err(errors) => {
            let mut text: String = errors
                .errors
                .iter()
                .map(|error| format!("{error}\n"))
                .collect();
            if errors.more > 0 {
                text.push_str(&format!("and {} more\n", errors.more));
            }
            text
        }
    }
}

fn convert(kind: &str, text: &str) -> String {
    match kind {
        "bootstrap" => render(bootstrap_from_yaml(text, "case.yaml")),
        "listener" => render(listener(&parse(text))),
        "cluster" => render(cluster(&parse(text))),
        "route" => render(route_configuration(&parse(text))),
        "endpoint" => render(load_assignment(&parse(text))),
        "secret" => render(secret(&parse(text))),
        other => panic!("no resource is called {other}"),
    }
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own switch")]
fn every_case_comes_out_as_its_golden_file_says() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = Vec::new();
    let mut count = 0;
    for directory in sorted(&root) {
        let kind = directory.file_name().unwrap().to_str().unwrap().to_owned();
        for case in sorted(&directory) {
            if case.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            count += 1;
            let actual = convert(&kind, &std::fs::read_to_string(&case).unwrap());
            let golden = case.with_extension("golden");
            if update {
                std::fs::write(&golden, &actual).unwrap();
            } else if std::fs::read_to_string(&golden).unwrap_or_default() != actual {
                wrong.push(format!("{} gives\n{actual}", case.display()));
            }
        }
    }
    assert!(count > 0, "no cases below {}", root.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
