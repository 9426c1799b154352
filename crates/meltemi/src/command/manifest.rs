//! `meltemi manifest`: what Kubernetes is given.

use anyhow::Result;
use clap::Subcommand;

use crate::terminal::Terminal;

/// Write manifests for Kubernetes
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  meltemi manifest crds | kubectl apply -f -"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    manifest: Manifest,
}

#[derive(Debug, Subcommand)]
enum Manifest {
    /// The definitions of Istio's kinds (CustomResourceDefinition)
    ///
    /// Names, versions and columns are those of Istio's own definitions. Their schemas are made from
    /// the types that the control plane reads, so that the API server knows every field that it takes.
    Crds,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<()> {
    match arguments.manifest {
        Manifest::Crds => Ok(terminal.print(&crds()?)?),
    }
}

/// Every definition, as documents of one file.
fn crds() -> Result<String> {
    let mut text = String::new();
    for definition in meltemi_model::crds() {
        text += "---\n";
        text += &serde_saphyr::to_string(&definition)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::crds;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "whoever changes a type asks for the file to be written anew"
    )]
    fn the_committed_definitions_are_these() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/crds.yaml");
        let made = crds().unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == made,
            "manifests/crds.yaml is not what the types say; run the test with UPDATE_GOLDEN=1"
        );
    }
}
