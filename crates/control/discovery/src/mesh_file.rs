//! The mesh configuration file.
//!
//! In: a file that holds Istio's MeshConfig, or the ConfigMap `istio` with it. Out: the
//! configuration, or what is wrong with it by file and line. Called once at the start.

use std::path::Path;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, MeshConfig, Problem, convert, convert_in_part};
use serde_json::json;
use tracing::warn;

use crate::DiscoveryError;

/// Reads the file.
pub(crate) fn read(path: &Path, defaults: &Defaults) -> Result<MeshConfig, DiscoveryError> {
    let text = std::fs::read_to_string(path).map_err(|error| DiscoveryError::MeshFile {
        path: path.to_owned(),
        error,
    })?;
    parse(path, &text, defaults).map_err(DiscoveryError::MeshConfig)
}

fn parse(path: &Path, text: &str, defaults: &Defaults) -> Result<MeshConfig, Vec<Problem>> {
    let file: Arc<Path> = path.into();
    let documents = meltemi_api::parse(Some(file.clone()), text).map_err(|it| vec![*it])?;
    let is_resource = documents.iter().any(|it| !it.kind.is_empty());
    if is_resource {
        for document in &documents {
            if let Config::MeshConfig(mesh) = convert(document, defaults)? {
                return Ok(*mesh);
            }
        }
        let message = "holds resources, but not the ConfigMap of the root namespace with the mesh configuration";
        return Err(vec![Problem::of_file(Some(file), None, message)]);
    }
    // The bare configuration is read as the ConfigMap that would hold it. There its text begins on
    // the line after the key, which is the first.
    let wrapped = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": defaults.mesh_config_map(), "namespace": defaults.root_namespace.as_str() },
        "data": { "mesh": text },
    });
    let shift = |problems: Vec<Problem>| {
        let shifted = problems.into_iter().map(|problem| Problem {
            line: problem.line.map(|line| line.saturating_sub(1).max(1)),
            resource: None,
            ..problem
        });
        shifted.collect::<Vec<_>>()
    };
    let documents =
        meltemi_api::parse(Some(file.clone()), &wrapped.to_string()).map_err(|it| vec![*it])?;
    match documents.first().map(|it| convert_in_part(it, defaults)) {
        Some((Some(Config::MeshConfig(mesh)), problems)) => {
            for problem in shift(problems) {
                warn!("{problem}");
            }
            Ok(*mesh)
        }
        Some((None, problems)) => Err(shift(problems)),
        Some((Some(_), _)) | None => {
            unreachable!("a ConfigMap of this name is the mesh configuration")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_bare_configuration_and_the_config_map_are_read() {
        let defaults = Defaults::default();
        let path = Path::new("mesh.yaml");
        let bare = "trustDomain: example.org\nenableAutoMtls: false\n";
        let mesh = parse(path, bare, &defaults).unwrap();
        assert_eq!(mesh.trust_domain.as_str(), "example.org");
        assert!(!mesh.enable_auto_mtls);
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: istio\n  namespace: istio-system\ndata:\n  mesh: |\n    trustDomain: example.org\n";
        let mesh = parse(path, map, &defaults).unwrap();
        assert_eq!(mesh.trust_domain.as_str(), "example.org");
        let wrong = "enableAutoMtls: true\naccessLogEncoding: XML\n";
        let problems = parse(path, wrong, &defaults).unwrap_err();
        let text = problems[0].to_string();
        assert!(text.starts_with("mesh.yaml:2: "), "{text}");
        assert_eq!(parse(path, "", &defaults).unwrap(), MeshConfig::default());
    }
}
