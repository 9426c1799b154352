//! What a mesh says while it runs.
//!
//! In: events of every part. Out: [`Report`]s, which the command line prints; nothing here writes to
//! a terminal.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use meltemi_model::Problem;

use crate::pod::{PodName, ProxyKind};

/// One thing to tell.
#[derive(Debug, Clone)]
pub enum Report {
    /// The mesh begins; logs will be here.
    Starting {
        /// The directory with a directory of logs for each pod.
        logs: PathBuf,
    },
    /// The control plane serves.
    ControlPlane {
        /// xDS and certificates, TLS.
        discovery: SocketAddr,
        /// Debug endpoints and metrics.
        debug: SocketAddr,
    },
    /// A pod's processes start.
    PodStarted(PodReport),
    /// A pod that was added or changed later takes requests.
    PodReady(PodName),
    /// A pod's processes have ended as they should.
    PodStopped(PodName),
    /// A process ended by itself.
    Exited {
        /// Whose it is.
        pod: PodName,
        /// Its name within the pod.
        process: String,
        /// How it ended.
        how: String,
        /// Where to read why.
        log: Option<PathBuf>,
        /// When it is started again.
        restart_in: std::time::Duration,
    },
    /// A line that a process wrote.
    Output {
        /// Its workload's name, or its pod's if the workload has several.
        source: String,
        /// Whether it wrote it to standard error.
        stderr: bool,
        /// The line.
        line: String,
    },
    /// A file or resource is wrong; what held before still does.
    Problem(Problem),
    /// It no longer is.
    Resolved(Problem),
    /// A gateway's port can be reached.
    Published(Published),
    /// It no longer can.
    Unpublished(Published),
    /// Anything else that is not as it should be.
    Warning(String),
    /// Every proxy has its configuration and every application accepts connections.
    Ready {
        /// The directory's own commands to try.
        commands: Vec<String>,
        /// A workload with a sidecar, for an example.
        example: Option<String>,
    },
    /// It took too long; what is still missing.
    NotReady(Vec<String>),
    /// The mesh ends.
    Stopping,
}

/// A pod, for display.
#[derive(Debug, Clone)]
pub struct PodReport {
    /// Its name.
    pub name: PodName,
    /// Its workload's name.
    pub workload: String,
    /// Its proxy.
    pub proxy: ProxyKind,
    /// Its address.
    pub ip: IpAddr,
    /// Where its applications listen.
    pub listens: Vec<SocketAddr>,
    /// What runs in it, the proxy aside.
    pub applications: Vec<String>,
}

/// A gateway's port on an address for everybody.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Published {
    /// Where it is published.
    pub address: SocketAddr,
    /// `NAME.NAMESPACE` of the gateway's service.
    pub service: String,
    /// The service's port.
    pub port: u16,
    /// Whether TLS is served.
    pub tls: bool,
}

/// Where reports go.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Report) + Send + Sync>);

impl Reporter {
    /// Calls `tell` for each report; it must not block for long.
    pub fn new(tell: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, report: Report) {
        (self.0)(report);
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}
