//! Who the agent works for, and where things are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meltemi_proxy::LogControl;
use serde_json::{Map, Value};

use crate::{Probe, Renewal, WorkloadKey};

/// What the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside a workload.
    Sidecar,
    /// A gateway.
    Router,
}

impl Role {
    /// The first part of the node id.
    pub fn node_type(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// How traffic comes to a sidecar (`INTERCEPTION_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interception {
    /// It does not: listeners bind real addresses and applications use the HTTP proxy port.
    None,
    /// By `REDIRECT` rules.
    Redirect,
    /// By `TPROXY` rules.
    Tproxy,
}

impl Interception {
    /// The value of `INTERCEPTION_MODE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
        }
    }
}

/// What else the proxy's bootstrap has, of Istio's ProxyConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartSettings {
    /// `proxyStatsMatcher.inclusionPrefixes`; `{pod_ip}` stands for the pod's address.
    pub stats_prefixes: Vec<String>,
    /// `proxyStatsMatcher.inclusionSuffixes`.
    pub stats_suffixes: Vec<String>,
    /// `proxyStatsMatcher.inclusionRegexps`.
    pub stats_regexps: Vec<String>,
    /// `extraStatTags`.
    pub extra_stat_tags: Vec<String>,
    /// `runtimeValues`.
    pub runtime_values: BTreeMap<String, String>,
    /// `caCertificatesPem`: roots that the workload trusts beside the mesh's, in PEM.
    pub ca_certificates: Vec<String>,
}

/// Who the agent works for, and where things are.
#[derive(Clone)]
pub struct Options {
    /// Sidecar or gateway.
    pub role: Role,
    /// The pod's name.
    pub pod: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's address.
    pub ip: IpAddr,
    /// The pod's service account.
    pub service_account: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The workload that owns the pod, such as its Deployment's name.
    pub workload: String,
    /// The cluster's name, `Kubernetes` unless set.
    pub cluster_id: String,
    /// The domain of service names, such as `default.svc.cluster.local`.
    pub dns_domain: String,
    /// The trust domain of the workload's identity.
    pub trust_domain: String,
    /// How traffic comes in.
    pub interception: Interception,
    /// Where the application listens, where that is not the usual address of the
    /// interception mode.
    pub app_address: Option<IpAddr>,
    /// The control plane's TLS address for xDS and CSRs, `host:port`.
    pub discovery: String,
    /// PEM roots that the control plane's certificate must lead to.
    pub root_cert: PathBuf,
    /// When the workload's certificate is renewed.
    pub renewal: Renewal,
    /// Of which sort the workload's key is.
    pub key: WorkloadKey,
    /// A bearer token that proves who we are; read anew at each use.
    pub token: PathBuf,
    /// Where the administration endpoint listens.
    pub admin: SocketAddr,
    /// The port that tells the workload's health and metrics to who asks Istio's agent.
    pub status_port: u16,
    /// What else the proxy says of itself, by the keys of node metadata.
    pub metadata: Map<String, Value>,
    /// How it is found out whether the application is healthy, which the control plane is told.
    pub probe: Option<Probe>,
    /// Where DNS is answered for the workload, if it is.
    pub dns: Option<SocketAddr>,
    /// What else the bootstrap has.
    pub start: StartSettings,
    /// Worker threads.
    pub concurrency: usize,
    /// Serve the workload's secrets over SDS here.
    pub sds_socket: Option<PathBuf>,
    /// Run the proxy; otherwise only identity and SDS, for a stock Envoy.
    pub run_proxy: bool,
    /// How long connections have to end at shutdown.
    pub drain_time: Duration,
    /// The log's levels.
    pub logs: Arc<LogControl>,
}

impl Options {
    /// The node id, such as `sidecar~10.0.0.1~web-1.default~default.svc.cluster.local`.
    pub fn node_id(&self) -> String {
        let Self {
            pod,
            namespace,
            ip,
            dns_domain,
            ..
        } = self;
        format!(
            "{}~{ip}~{pod}.{namespace}~{dns_domain}",
            self.role.node_type()
        )
    }
}
