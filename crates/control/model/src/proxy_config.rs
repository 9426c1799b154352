//! What proxies start with, by workload.
//!
//! In: Istio ProxyConfig (`networking.istio.io`). Out: [`ProxyConfigRule`], and by [`effective`] what
//! holds for one workload when everything that is said of it is laid over one another.

mod convert;

use std::collections::BTreeMap;

use crate::{Labels, MeshConfig, Metadata, NamespaceName, ProxyConfig, ProxyConfigPatch, Workload};

pub(crate) use convert::{SUPPORT, convert};

/// A valid Istio ProxyConfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfigRule {
    /// Its metadata.
    pub meta: Metadata,
    /// The workloads of its namespace that it is for; `None` for all of them, and in the root
    /// namespace for those of the whole mesh. One without labels is for none, as Istio has it.
    pub selector: Option<Labels>,
    /// `concurrency`; 0 asks for as many worker threads as there are cores.
    pub concurrency: Option<u32>,
    /// `environmentVariables`.
    pub environment: BTreeMap<String, String>,
}

impl ProxyConfigRule {
    fn patch(&self) -> ProxyConfigPatch {
        ProxyConfigPatch {
            concurrency: self.concurrency,
            proxy_metadata: self.environment.clone(),
            ..ProxyConfigPatch::default()
        }
    }
}

/// The settings of a workload's proxy: the mesh's, over them the rule of the root namespace, that of
/// the workload's namespace, the workload's annotation `proxy.istio.io/config`, and the rule that
/// selects the workload. Of several rules for the same the oldest counts.
pub fn effective<'a>(
    mesh: &MeshConfig,
    rules: impl IntoIterator<Item = &'a ProxyConfigRule>,
    workload: &Workload,
) -> ProxyConfig {
    let mut rules: Vec<_> = rules.into_iter().collect();
    rules.sort_by_cached_key(|it| it.meta.age_key());
    let of_namespace = |namespace: &NamespaceName| {
        let mut whole = rules.iter().filter(|it| it.selector.is_none());
        let found = whole.find(|it| it.meta.namespace == *namespace);
        found.map(|it| it.patch())
    };
    let (own, root) = (&workload.meta.namespace, &mesh.root_namespace);
    let selects = |it: &&&ProxyConfigRule| {
        let selector = it.selector.as_ref().filter(|it| !it.is_empty());
        it.meta.namespace == *own && selector.is_some_and(|it| it.selects(&workload.meta.labels))
    };
    let patches = [
        of_namespace(root),
        (own != root).then(|| of_namespace(own)).flatten(),
        workload.proxy_config.as_deref().cloned(),
        rules.iter().find(selects).map(|it| it.patch()),
    ];
    let patches = patches.into_iter().flatten();
    patches.fold(mesh.default_config.clone(), ProxyConfig::with)
}

#[cfg(test)]
mod tests;
