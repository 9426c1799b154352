//! What proxies get, compared with files: `cases/*/PROXY.golden.yaml`. Set `UPDATE_GOLDEN=1` to write
//! them anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "support/case.rs"]
mod support;

use meltemi_translate::translate;
use support::Case;

#[test]
fn proxies_get_what_the_golden_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for case in Case::all() {
        let snapshot = case.snapshot();
        for (name, proxy) in &case.proxies {
            let resources = translate(&snapshot, &proxy.node());
            let made = serde_saphyr::to_string(&proxy.shown(&resources)).unwrap();
            let path = case.directory.join(format!("{name}.golden.yaml"));
            if update {
                std::fs::write(&path, &made).unwrap();
                continue;
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            if golden != made {
                different.push(format!(
                    "{}/{name}: {}",
                    case.name,
                    first_difference(&golden, &made)
                ));
            }
        }
    }
    assert!(
        different.is_empty(),
        "{}\nUPDATE_GOLDEN=1 writes the files anew",
        different.join("\n")
    );
}

fn first_difference(golden: &str, made: &str) -> String {
    let mut lines = golden.lines().zip(made.lines()).enumerate();
    match lines.find(|(_, (golden, made))| golden != made) {
        Some((index, (golden, made))) => {
            format!("line {}: expected {golden:?}, made {made:?}", index + 1)
        }
        None => format!(
            "expected {} lines, made {}",
            golden.lines().count(),
            made.lines().count()
        ),
    }
}
