//! `meltemi manifest`: what Kubernetes is given.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::terminal::Terminal;

/// Write manifests for Kubernetes
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  meltemi manifest crds | kubectl apply -f -
  meltemi manifest webhooks --ca-bundle ca/root-cert.pem | kubectl apply -f -"
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
    /// Whom the API server asks whether resources are valid (ValidatingWebhookConfiguration)
    ///
    /// It names the Service `istiod` of the root namespace, port 443, which leads to the port of
    /// `meltemi discovery --https-addr`.
    Webhooks {
        /// The root that the control plane's certificate is of, in PEM
        #[arg(long, value_name = "FILE")]
        ca_bundle: PathBuf,
        /// The root namespace
        #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
        root_namespace: String,
    },
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<()> {
    match &arguments.manifest {
        Manifest::Crds => Ok(terminal.print(&crds()?)?),
        Manifest::Webhooks {
            ca_bundle,
            root_namespace,
        } => {
            let bundle = std::fs::read_to_string(ca_bundle);
            let bundle = bundle.with_context(|| ca_bundle.display().to_string())?;
            if !bundle.contains("-----BEGIN CERTIFICATE-----") {
                bail!("{}: there is no certificate in PEM", ca_bundle.display());
            }
            let manifest = serde_saphyr::to_string(&webhooks(&bundle, root_namespace))?;
            Ok(terminal.print(&manifest)?)
        }
    }
}

/// Named as Istio's own, in whose place it is.
fn webhooks(ca_bundle: &str, root: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": format!("istio-validator-{root}"),
            "labels": { "app": "istiod", "istio": "istiod" },
        },
        "webhooks": [{
            "name": "rev.validation.istio.io",
            "clientConfig": {
                "service": { "name": "istiod", "namespace": root, "path": "/validate", "port": 443 },
                "caBundle": STANDARD.encode(ca_bundle),
            },
            "rules": [{
                "operations": ["CREATE", "UPDATE"],
                "apiGroups": ["security.istio.io", "networking.istio.io", "telemetry.istio.io"],
                "apiVersions": ["*"],
                "resources": ["*"],
            }],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"],
        }],
    })
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
