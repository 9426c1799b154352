//! What workloads tell of themselves.
//!
//! In: Istio Telemetry (`telemetry.istio.io`). Out: [`Telemetry`] (FEATURES O3), of which access logs
//! are honoured.

mod convert;

use crate::{Labels, Metadata};

pub(crate) use convert::{SUPPORT, convert};

/// A valid Istio Telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Its metadata.
    pub meta: Metadata,
    /// The workloads that it is for; `None` for all of its namespace, and in the root namespace for
    /// those of the whole mesh.
    pub selector: Option<Labels>,
    /// `targetRefs`: the gateways that it is for, by name, in the place of a selector.
    pub gateways: Vec<String>,
    /// `accessLogging`, in its order.
    pub access_logging: Vec<AccessLogging>,
}

/// An entry of `accessLogging`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogging {
    /// `match.mode`.
    pub mode: WorkloadMode,
    /// The names of `providers`; none for those that hold otherwise.
    pub providers: Vec<String>,
    /// `disabled`.
    pub disabled: bool,
    /// `filter.expression`, in CEL.
    pub filter: Option<String>,
}

/// Which side of a workload's connections is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WorkloadMode {
    /// `CLIENT_AND_SERVER`.
    #[default]
    ClientAndServer,
    /// `CLIENT`: what it calls, and what a gateway passes on.
    Client,
    /// `SERVER`: what it serves.
    Server,
}

impl WorkloadMode {
    /// Whether what is said of `self` holds for the side `mode`.
    pub fn includes(self, mode: Self) -> bool {
        self == Self::ClientAndServer || self == mode
    }
}
