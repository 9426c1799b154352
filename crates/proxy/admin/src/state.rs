//! What the endpoint knows: handles to what the data plane shares, and the few things that it
//! may ask the server to do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use meltemi_lifecycle::Clock;
use meltemi_telemetry::StatsRegistry;
use meltemi_tls::SecretStore;
use meltemi_upstream::ClusterManager;
use meltemi_xds::pb::envoy::config::core::v3::Node;

use crate::{ConfigStore, LogControl};

/// Everything that a request can be answered from.
pub struct AdminState {
    /// All statistics.
    pub stats: Arc<StatsRegistry>,
    /// All clusters.
    pub clusters: Arc<ClusterManager>,
    /// Configuration as it was received.
    pub config: Arc<ConfigStore>,
    /// Certificates and trust anchors in use.
    pub secrets: Arc<SecretStore>,
    /// What the server can be asked to do.
    pub control: Arc<dyn ServerControl>,
    /// The log's levels.
    pub logs: Arc<LogControl>,
    /// How far the server has come.
    pub status: Arc<ServerStatus>,
    /// What does not change.
    pub info: ServerInfo,
    /// The time.
    pub clock: Clock,
}

/// What does not change while the server runs.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    /// Such as `0.1.0`.
    pub version: String,
    /// Who this proxy says it is.
    pub node: Node,
    /// How many workers there are.
    pub concurrency: u32,
    /// The bootstrap file, if there is one.
    pub config_path: String,
    /// How long draining takes, in seconds.
    pub drain_seconds: u64,
    /// What this process and its successor speak; none where it has none.
    pub hot_restart: Option<&'static str>,
    /// When the server began.
    pub started: Option<tokio::time::Instant>,
}

/// What the server can be asked to do. Nothing here may block.
pub trait ServerControl: Send + Sync {
    /// The listeners in service.
    fn listeners(&self) -> Vec<BoundListener>;
    /// The listeners that wait for something.
    fn unready_listeners(&self) -> Vec<UnreadyListener>;
    /// Drains listeners.
    fn drain_listeners(&self, request: DrainRequest);
    /// Ends the server.
    fn quit(&self);
    /// Opens the access logs anew.
    ///
    /// # Errors
    /// When a file cannot be opened.
    fn reopen_logs(&self) -> io::Result<()>;
    /// Downstream connections open now.
    fn connections(&self) -> u64;
}

/// A listener that is not in service yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadyListener {
    /// Its name.
    pub name: String,
    /// Route tables that have not come.
    pub routes: Vec<String>,
    /// Secrets that have not.
    pub secrets: Vec<String>,
}

/// A listener in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    /// Its name.
    pub name: String,
    /// Where it is bound; the first is its main address.
    pub addresses: Vec<SocketAddr>,
}

/// `/drain_listeners`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainRequest {
    /// Only listeners of inbound traffic.
    pub inbound_only: bool,
    /// Connections may finish what they are at before listeners stop.
    pub graceful: bool,
    /// Listeners never stop, only their connections drain.
    pub skip_exit: bool,
}

/// How far the server has come (`ServerInfo.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPhase {
    /// It serves.
    Live,
    /// It is about to end, or was told that it fails health checks.
    Draining,
    /// It waits for its first clusters.
    PreInitializing,
    /// It waits for its first listeners.
    Initializing,
}

/// How far the server has come, for `/ready`. Begins at [`ServerPhase::PreInitializing`].
#[derive(Debug)]
pub struct ServerStatus {
    phase: AtomicU8,
    failed: AtomicBool,
}

impl ServerPhase {
    const ALL: [Self; 4] = [
        Self::Live,
        Self::Draining,
        Self::PreInitializing,
        Self::Initializing,
    ];

    /// As Envoy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }

    /// As `server.state` counts it.
    pub fn number(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
            Self::Initializing => 3,
        }
    }
}

impl Default for ServerStatus {
    fn default() -> Self {
        Self {
            phase: AtomicU8::new(ServerPhase::PreInitializing.number()),
            failed: AtomicBool::new(false),
        }
    }
}

impl ServerStatus {
    /// The phase that others see: a live server that fails its health check drains.
    pub fn phase(&self) -> ServerPhase {
        let number = usize::from(self.phase.load(Ordering::Relaxed));
        let phase = ServerPhase::ALL[number % ServerPhase::ALL.len()];
        match phase {
            ServerPhase::Live if self.failed.load(Ordering::Relaxed) => ServerPhase::Draining,
            other => other,
        }
    }

    /// The server has come so far.
    pub fn set_phase(&self, phase: ServerPhase) {
        self.phase.store(phase.number(), Ordering::Relaxed);
    }

    /// Whether the server was told to fail health checks (`/healthcheck/fail`).
    pub fn fails_health_checks(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Makes the server fail health checks, or pass them again.
    pub fn fail_health_checks(&self, fail: bool) {
        self.failed.store(fail, Ordering::Relaxed);
    }
}
