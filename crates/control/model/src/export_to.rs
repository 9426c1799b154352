//! Who may see a resource.
//!
//! In: `exportTo` lists and the `networking.istio.io/exportTo` annotation. Out: [`ExportTo`].

mod convert;

use std::collections::BTreeSet;

use crate::NamespaceName;

pub(crate) use convert::{convert, convert_default};

/// The namespaces whose proxies see a resource, with `.` already resolved to the resource's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExportTo {
    /// Nothing is written: what the mesh configuration says, which is every namespace unless it says
    /// otherwise. Snapshots put [`DefaultExportTo::of`] in its place.
    #[default]
    Unwritten,
    /// `*`: every namespace.
    All,
    /// These only; none at all for `~`.
    Only(BTreeSet<NamespaceName>),
}

impl ExportTo {
    /// Whether proxies of `namespace` see the resource.
    pub fn is_visible_in(&self, namespace: &NamespaceName) -> bool {
        match self {
            Self::Unwritten | Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
        }
    }
}

/// Who sees resources that do not say it themselves: `defaultServiceExportTo` and the like of the mesh
/// configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DefaultExportTo {
    /// Every namespace.
    #[default]
    All,
    /// These only.
    Only {
        /// `.`: each resource's own namespace.
        own: bool,
        /// The namespaces that are named.
        namespaces: BTreeSet<NamespaceName>,
    },
}

impl DefaultExportTo {
    /// Who sees a resource of `namespace` that has `written`; `None` if that is what it has already.
    pub fn of(&self, written: &ExportTo, namespace: &NamespaceName) -> Option<ExportTo> {
        match (written, self) {
            (ExportTo::Unwritten, Self::Only { own, namespaces }) => {
                let mut namespaces = namespaces.clone();
                namespaces.extend(own.then(|| namespace.clone()));
                Some(ExportTo::Only(namespaces))
            }
            (ExportTo::Unwritten, Self::All) | (ExportTo::All | ExportTo::Only(_), _) => None,
        }
    }
}
