//! Which callers a workload takes.
//!
//! In: Istio PeerAuthentication (`security.istio.io`). Out: [`PeerAuthentication`] (FEATURES S5).

mod convert;

use std::collections::BTreeMap;

use crate::{Labels, Metadata};

pub(crate) use convert::{SUPPORT, convert, require_everywhere};

/// A valid Istio PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Its metadata.
    pub meta: Metadata,
    /// The workloads of its namespace that it is for; `None` for all of them, and in the root
    /// namespace for those of the whole mesh.
    pub selector: Option<Labels>,
    /// `mtls.mode`; `None` leaves what holds otherwise.
    pub mode: Option<MutualTlsMode>,
    /// `portLevelMtls`, by the workload's port; `None` means what holds for the other ports.
    pub ports: BTreeMap<u16, Option<MutualTlsMode>>,
}

/// Whether callers use the mesh's mutual TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MutualTlsMode {
    /// `DISABLE`: the proxy opens no TLS.
    Disable,
    /// `PERMISSIVE`: they may.
    #[default]
    Permissive,
    /// `STRICT`: they must.
    Strict,
}
