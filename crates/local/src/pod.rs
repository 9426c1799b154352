//! A pod: what it is in this mesh, and which processes it is made of.
//!
//! In: a workload with its addresses. Out: [`PodPlan`], a value that the supervisor carries out and
//! compares with the next one to see whether something must be started again.

mod environment;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use meltemi_model::Workload;

pub(crate) use environment::Values;
pub(crate) use plan::{PlanContext, ProxySettings, plan};

/// A pod's name and namespace, printed as `NAME.NAMESPACE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// What proxy a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// One beside the application.
    Sidecar,
    /// The pod is a gateway.
    Router,
    /// None: the namespace asks for no sidecars, or the workload refuses.
    None,
}

/// A workload as this mesh runs it: with addresses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pod {
    /// The workload, addresses filled in.
    pub workload: Arc<Workload>,
    /// Its proxy.
    pub proxy: ProxyKind,
}

/// The processes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodPlan {
    /// Whose they are.
    pub pod: PodName,
    /// The name of its Deployment, or its own.
    pub workload: String,
    /// Its service account, whose token its proxy gets.
    pub service_account: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its proxy.
    pub proxy: ProxyKind,
    /// Where the proxy's administration listens, if there is one.
    pub admin: Option<SocketAddr>,
    /// The processes, the proxy first.
    pub processes: Vec<ProcessPlan>,
    /// Where its applications will accept connections when they are ready.
    pub listens: Vec<SocketAddr>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessPlan {
    /// `proxy`, or the container's name: the name of its log file.
    pub name: String,
    /// What is run, for people: `meltemi app`, or the command.
    pub title: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs; the directory of `up` if not given.
    pub working_dir: Option<PathBuf>,
}

impl PodName {
    pub(crate) fn of(workload: &Workload) -> Self {
        Self {
            namespace: workload.meta.namespace.as_str().to_owned(),
            name: workload.meta.name.to_string(),
        }
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.namespace)
    }
}

impl Pod {
    pub(crate) fn name(&self) -> PodName {
        PodName::of(&self.workload)
    }

    /// The address that other pods use.
    pub(crate) fn ip(&self) -> IpAddr {
        let first = self.workload.addresses.first();
        *first.expect("the platform gives every pod an address")
    }

    /// Where its applications listen.
    pub(crate) fn application_ip(&self) -> IpAddr {
        self.workload.application_address.unwrap_or(self.ip())
    }
}

#[cfg(test)]
mod tests;
