//! `cargo xtask protos`: compiles the `.proto` files that registry crates ship, and the few of our
//! own, into `crates/shared/xds/descriptors.binpb`.
//!
//! The registry crates are never dependencies of the workspace: a throw-away package in `target/`
//! names them and cargo fetches their sources. The result has no comments, keeps every option
//! (validation rules, `sensitive`, `deprecated`), and is the same bytes each time.

mod merge;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use self::merge::MergedSet;
use self::sources::ProtoTree;

/// Arguments of `cargo xtask protos`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write nothing, and fail if the committed descriptor set is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Makes the descriptor set, or compares it with the committed one.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = workspace_root()?;
    let output = root.join("crates/shared/xds/descriptors.binpb");
    let trees: Arc<[ProtoTree]> = sources::locate(&root)?.into();
    let roots: BTreeSet<String> = trees
        .iter()
        .map(ProtoTree::roots)
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();

    let mut merged = MergedSet::default();
    for name in &roots {
        merged.add(&trees, name)?;
    }
    let (files, bytes) = merged.finish()?;

    if arguments.check {
        let committed = std::fs::read(&output).with_context(|| output.display().to_string())?;
        ensure!(
            committed == bytes,
            "{} is stale: run `cargo xtask protos`",
            output.display()
        );
    } else {
        std::fs::write(&output, &bytes).with_context(|| output.display().to_string())?;
    }
    report(&output, files, bytes.len());
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the task's result, for the one who runs it"
)]
fn report(output: &Path, files: usize, bytes: usize) {
    println!("{}: {files} files, {bytes} bytes", output.display());
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() else {
        bail!("xtask is not inside a workspace");
    };
    Ok(root.to_path_buf())
}
