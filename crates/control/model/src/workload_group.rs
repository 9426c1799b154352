//! Workload groups: what workloads that register themselves have in common.
//!
//! In: Istio WorkloadGroup (`networking.istio.io`). Out: [`WorkloadGroup`] (FEATURES T13).

mod convert;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{Labels, Locality, Metadata};

pub(crate) use convert::{SUPPORT, convert, convert_probe};

/// A valid Istio WorkloadGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadGroup {
    /// Its metadata.
    pub meta: Metadata,
    /// The labels of its entries: those of `template`, over them those of `metadata`.
    pub labels: Labels,
    /// The annotations of its entries.
    pub annotations: BTreeMap<String, String>,
    /// `template.ports`.
    pub ports: BTreeMap<String, u16>,
    /// `template.network`.
    pub network: Option<String>,
    /// `template.locality`.
    pub locality: Option<Locality>,
    /// `template.weight`.
    pub weight: Option<u32>,
    /// `template.serviceAccount`.
    pub service_account: Option<Arc<str>>,
    /// `probe`.
    pub probe: Option<Probe>,
}

/// `probe`: how the health of an entry is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `initialDelaySeconds`.
    pub initial_delay: Duration,
    /// `timeoutSeconds`, 1 s.
    pub timeout: Duration,
    /// `periodSeconds`, 10 s.
    pub period: Duration,
    /// `successThreshold`, 1.
    pub success_threshold: u32,
    /// `failureThreshold`, 3.
    pub failure_threshold: u32,
    /// What is done.
    pub method: ProbeMethod,
}

/// How a probe is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeMethod {
    /// `httpGet`.
    Http {
        /// `path`, `/`.
        path: String,
        /// `port`.
        port: u16,
        /// `host`.
        host: Option<String>,
        /// `scheme: HTTPS`.
        tls: bool,
        /// `httpHeaders`.
        headers: Vec<(String, String)>,
    },
    /// `tcpSocket`.
    Tcp {
        /// `host`.
        host: Option<String>,
        /// `port`.
        port: u16,
    },
    /// `exec`: a command and its arguments, at least the command.
    Exec(Vec<String>),
    /// `grpc`.
    Grpc {
        /// `port`.
        port: u16,
        /// `service`.
        service: Option<String>,
    },
}
