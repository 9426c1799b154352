//! Which namespaces are of the mesh (FEATURES C4).
//!
//! In: `discoverySelectors` of the mesh configuration, and the labels of namespaces, as they change.
//! Out: whether a resource counts. Called by [`crate::mesh`].

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{
    Config, Kind, Labels, MeshConfig, NamespaceName, NamespaceSelector, ResourceId,
};

/// The label that Kubernetes gives to every namespace.
const NAME: &str = "kubernetes.io/metadata.name";

/// Which namespaces are selected.
#[derive(Debug)]
pub(crate) struct Selection {
    selectors: Vec<NamespaceSelector>,
    /// Its policies are everybody's, so that it is of the mesh whatever its labels.
    root: NamespaceName,
    labels: BTreeMap<NamespaceName, Labels>,
}

impl Default for Selection {
    fn default() -> Self {
        let mesh = MeshConfig::default();
        Self {
            selectors: mesh.discovery_selectors,
            root: mesh.root_namespace,
            labels: BTreeMap::new(),
        }
    }
}

impl Selection {
    /// Notes the definition of a resource that counts now, if there is one. Whether other resources may
    /// count now that did not, or the other way round.
    pub fn follow(&mut self, id: &ResourceId, config: Option<&Arc<Config>>) -> bool {
        match (id.kind, config.map(AsRef::as_ref)) {
            (Kind::MeshConfig, Some(Config::MeshConfig(mesh))) => {
                let same = self.selectors == mesh.discovery_selectors
                    && (self.selectors.is_empty() || self.root == mesh.root_namespace);
                self.selectors.clone_from(&mesh.discovery_selectors);
                self.root.clone_from(&mesh.root_namespace);
                !same
            }
            (Kind::Namespace, config) => {
                let name = NamespaceName::new(id.name.as_ref());
                let before = self.labels.get(&name);
                let same = match (before, config.map(|it| &it.meta().labels)) {
                    (None, None) => true,
                    (Some(before), Some(after)) => before == after,
                    (None, Some(_)) | (Some(_), None) => false,
                };
                match config {
                    Some(it) => self.labels.insert(name, it.meta().labels.clone()),
                    None => self.labels.remove(&name),
                };
                !same && !self.selectors.is_empty()
            }
            _ => false,
        }
    }

    /// Whether a resource counts.
    pub fn includes(&self, id: &ResourceId) -> bool {
        let of_cluster = matches!(id.kind, Kind::Namespace | Kind::Node | Kind::MeshConfig);
        if of_cluster || self.selectors.is_empty() || id.namespace == self.root {
            return true;
        }
        let mut labels = match self.labels.get(&id.namespace) {
            Some(labels) => labels.as_map().clone(),
            None => BTreeMap::new(),
        };
        labels.insert(NAME.to_owned(), id.namespace.as_str().to_owned());
        let labels = Labels::new(labels);
        self.selectors.iter().any(|it| it.selects(&labels))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use meltemi_model::{Defaults, convert};

    use super::*;

    fn read(yaml: &str) -> Arc<Config> {
        let documents = meltemi_api::parse(None, yaml).unwrap();
        Arc::new(convert(&documents[0], &Defaults::default()).unwrap())
    }

    fn namespace(name: &str, labels: &str) -> Arc<Config> {
        read(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {labels}}}}}"
        ))
    }

    fn mesh(selectors: &str) -> Arc<Config> {
        read(&format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}}, \
             data: {{mesh: '{{discoverySelectors: {selectors}}}'}}}}"
        ))
    }

    fn service(namespace: &str) -> ResourceId {
        read(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: {namespace}}}, \
             spec: {{ports: [{{port: 80}}]}}}}"
        ))
        .id()
    }

    #[test]
    fn labels_and_selectors_decide_and_changes_are_told() {
        let mut selection = Selection::default();
        let mut follow = |config: &Arc<Config>| {
            let told = selection.follow(&config.id(), Some(config));
            let counts = ["shop", "bank", "istio-system", "nowhere"].map(service);
            (told, counts.map(|it| selection.includes(&it)))
        };
        let all = [true; 4];
        assert_eq!(follow(&namespace("shop", "{team: a}")), (false, all));
        let two = mesh(
            "[{matchLabels: {team: a}}, {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [nowhere]}]}]",
        );
        assert_eq!(follow(&two), (true, [true, false, true, true]));
        assert_eq!(follow(&two), (false, [true, false, true, true]));
        let bank = namespace("bank", "{team: a}");
        assert_eq!(follow(&bank), (true, [true, true, true, true]));
        let none = mesh("[{matchExpressions: [{key: team, operator: DoesNotExist}]}]");
        assert_eq!(follow(&none), (true, [false, false, true, true]));
        let not = mesh(
            "[{matchExpressions: [{key: team, operator: NotIn, values: [b]}, {key: team, operator: Exists}]}]",
        );
        assert_eq!(follow(&not), (true, [true, true, true, false]));
        assert_eq!(follow(&mesh("[]")), (true, all));
    }
}
