//! `cargo xtask tidy`: structure that the compiler does not check.
//!
//! Crate edges are those of `edges.txt`, dependencies those of `dependencies.txt`; files and functions stay within their sizes;
//! names that say nothing are not used; a field that a conversion leaves out says why.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

mod dependencies;
mod edges;
mod source;

/// Checks the workspace; every finding is printed, any is a failure.
pub fn run() -> Result<()> {
    let root = root()?;
    let mut findings = edges::check(&root)?;
    findings.extend(dependencies::check(&root)?);
    findings.extend(source::check(&root)?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() {
        println!("tidy: fine");
        return Ok(());
    }
    bail!("{} finding(s)", findings.len())
}

fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map(Path::to_path_buf)
        .context("xtask lies in the workspace")
}

/// The files under version control, and those about to be, by path from the root.
fn tracked(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            pattern,
        ])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    let listing = String::from_utf8(output.stdout)?;
    let there = listing.lines().filter(|path| root.join(path).exists());
    Ok(there.map(str::to_owned).collect())
}
