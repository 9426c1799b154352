//! What comes from outside: licences, banned packages, sources, packages in two versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use spdx::{Expression, ParseMode};

/// What may be depended on.
#[derive(Default)]
struct Policy {
    licenses: BTreeSet<String>,
    /// With the reason.
    denied: BTreeMap<String, String>,
    twice: BTreeSet<String>,
}

/// Every package that the policy does not allow, and every line of it that is no longer needed.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let file = "xtask/dependencies.txt";
    let policy = parse(&std::fs::read_to_string(root.join(file)).context(file)?)?;
    let packages = packages(root)?;
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &packages {
        let Package {
            name,
            version,
            notes,
            license,
        } = package;
        versions.entry(name).or_default().insert(version);
        if let Some(reason) = policy.denied.get(name) {
            findings.push(format!("{name} {version} is denied: {reason}"));
        }
        if notes.contains("://") {
            findings.push(format!("{name} {version} comes from no registry: {notes}"));
        }
        if !is_licensed(license, &policy.licenses) {
            findings.push(format!(
                "{name} {version} has the license {license:?}, which {file} does not list"
            ));
        }
    }
    for (name, versions) in &versions {
        let twice = versions.len() > 1;
        if twice && !policy.twice.contains(*name) {
            let all: Vec<_> = versions.iter().copied().collect();
            findings.push(format!("{name} is there as {}", all.join(" and ")));
        }
        if !twice && policy.twice.contains(*name) {
            findings.push(format!("{file}: {name} is there once, take its line out"));
        }
    }
    for name in &policy.twice {
        if !versions.contains_key(name.as_str()) {
            findings.push(format!("{file}: {name} is not there, take its line out"));
        }
    }
    Ok(findings)
}

fn parse(text: &str) -> Result<Policy> {
    let mut policy = Policy::default();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(": ") {
            Some(("license", name)) => {
                policy.licenses.insert(name.to_owned());
            }
            Some(("twice", name)) => {
                policy.twice.insert(name.to_owned());
            }
            Some(("deny", rest)) => {
                let (name, reason) = rest.split_once(' ').context("a ban gives its reason")?;
                let reason = reason.trim().to_owned();
                policy.denied.insert(name.to_owned(), reason);
            }
            _ => bail!("xtask/dependencies.txt: {line:?} is no license, deny or twice"),
        }
    }
    Ok(policy)
}

/// Whether one of the license's alternatives is allowed; exceptions only take conditions away.
fn is_licensed(license: &str, allowed: &BTreeSet<String>) -> bool {
    let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|wanted| {
        let id = wanted.license.id();
        id.is_some_and(|id| allowed.contains(id.name))
    })
}

/// A package of the Linux build.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// What cargo says beside the version: a path, the address of a repository, `proc-macro`.
    notes: String,
    license: String,
}

/// Every package that the Linux build takes, features considered.
fn packages(root: &Path) -> Result<BTreeSet<Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--prefix", "none"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["--no-dedupe", "--format", "{p}|{l}"])
        .current_dir(root)
        .output()
        .context("cargo tree")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let listing = String::from_utf8(output.stdout)?;
    listing
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| package(line).with_context(|| format!("cargo tree says {line:?}")))
        .collect()
}

/// `name v1.2.3 (notes)|license`.
fn package(line: &str) -> Option<Package> {
    let (package, license) = line.split_once('|')?;
    let mut words = package.splitn(3, ' ').map(str::to_owned);
    Some(Package {
        name: words.next()?,
        version: words.next()?.strip_prefix('v')?.to_owned(),
        notes: words.next().unwrap_or_default(),
        license: license.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read() {
        let policy = parse("# a\nlicense: MIT\ndeny: b   bad\ntwice: c\n").expect("it is one");
        assert!(policy.licenses.contains("MIT"));
        assert_eq!(policy.denied["b"], "bad");
        assert!(policy.twice.contains("c"));
        assert!(parse("allow: b").is_err());
    }

    #[test]
    fn a_package_is_read() {
        let package = package("a v1.2.3 (https://b.test/c#1) (*)|MIT").expect("it is one");
        assert_eq!(
            (package.name.as_str(), package.version.as_str()),
            ("a", "1.2.3")
        );
        assert!(package.notes.contains("://"));
    }

    #[test]
    fn one_alternative_is_enough_and_all_conditions_are_needed() {
        let allowed = ["MIT", "Apache-2.0"].map(str::to_owned).into();
        let cases = [
            ("MIT", true),
            ("Unlicense/MIT", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-3.0-only", false),
            ("MIT AND ISC", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("", false),
        ];
        for (license, expected) in cases {
            assert_eq!(is_licensed(license, &allowed), expected, "{license}");
        }
    }
}
