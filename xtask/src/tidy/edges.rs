//! Crate edges against the allow-list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Every dependency that the list does not allow, and every line that is no longer needed.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(root.join("xtask/edges.txt")).context("xtask/edges.txt")?;
    let (allowed, banned) = parse(&text);
    let used = dependencies(root)?;
    let mut findings = Vec::new();
    for (package, dependencies) in &used {
        let Some(allowed) = allowed.get(package) else {
            findings.push(format!("xtask/edges.txt: no line for {package}"));
            continue;
        };
        let inner = dependencies.iter().filter(|name| used.contains_key(*name));
        for name in inner.filter(|name| !allowed.contains(*name)) {
            findings.push(format!(
                "{package} depends on {name}, which xtask/edges.txt does not allow"
            ));
        }
    }
    for package in allowed
        .keys()
        .filter(|package| !used.contains_key(*package))
    {
        findings.push(format!(
            "xtask/edges.txt: {package} is no crate of the workspace"
        ));
    }
    for (package, bans) in &banned {
        let reached = reach(package, &used);
        for name in bans.intersection(&reached) {
            findings.push(format!("{package} reaches {name}, which it must not know"));
        }
    }
    Ok(findings)
}

fn parse(text: &str) -> (Edges, Edges) {
    let (mut allowed, mut banned) = (Edges::new(), Edges::new());
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (package, names) = line.split_once(':').unwrap_or((line, ""));
        let names = names.split_whitespace().map(str::to_owned).collect();
        match package.strip_prefix('!') {
            Some(package) => banned.insert(package.to_owned(), names),
            None => allowed.insert(package.to_owned(), names),
        };
    }
    (allowed, banned)
}

/// The direct dependencies of every crate of the workspace, development aside.
fn dependencies(root: &Path) -> Result<Edges> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let name_of = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    Ok(packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let kept = dependencies.filter(|dependency| dependency["kind"] != "dev");
            (name_of(package), kept.map(name_of).collect())
        })
        .collect())
}

/// Everything that a crate depends on through crates of the workspace.
fn reach(package: &str, used: &Edges) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![package.to_owned()];
    while let Some(package) = open.pop() {
        for name in used.get(&package).into_iter().flatten() {
            if reached.insert(name.clone()) {
                open.push(name.clone());
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let (allowed, banned) = parse("# a\n\nb: c d\n!b: e\nf:\n");
        assert_eq!(allowed["b"].len(), 2);
        assert!(allowed["f"].is_empty());
        assert!(banned["b"].contains("e"));
    }
}
