//! Who may see a resource.
//!
//! In: `exportTo` lists and the `networking.istio.io/exportTo` annotation. Out: [`ExportTo`].

mod convert;

use std::collections::BTreeSet;

use crate::NamespaceName;

pub(crate) use convert::convert;

/// The namespaces whose proxies see a resource, with `.` already resolved to the resource's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExportTo {
    /// `*`, and the default: every namespace.
    #[default]
    All,
    /// These only; none at all for `~`.
    Only(BTreeSet<NamespaceName>),
}

impl ExportTo {
    /// Whether proxies of `namespace` see the resource.
    pub fn is_visible_in(&self, namespace: &NamespaceName) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}
