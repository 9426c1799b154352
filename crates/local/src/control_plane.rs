//! The control plane of the mesh on this machine.
//!
//! In: resources, as the platform has completed them. Out: a control plane on a thread and a runtime
//! of its own, so that nothing here can hold it up. Called by the mesh's loop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use meltemi_ca::TokenIssuer;
use meltemi_discovery::{ControlPlane as Discovery, DiscoveryError, Options, Resources};
use meltemi_lifecycle::{Drain, DrainSignal};
use meltemi_model::{Config, MeshConfig};
use meltemi_source::Event;
use meltemi_spiffe::{IdError, TrustDomain};
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};

use crate::addresses::Loopback;
use crate::state::{StateError, write_private};

/// Ports of the control plane.
const HTTP_PORT: u16 = 8080;
const PLAINTEXT_XDS_PORT: u16 = 15010;
const SECURE_XDS_PORT: u16 = 15012;
const MONITORING_PORT: u16 = 15014;

/// Threads of its runtime.
const THREADS: usize = 2;

/// The file with the mesh's root, beside the authority's own.
const ROOTS: &str = "mesh-roots.pem";

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// It does not start, or has ended.
    #[error("the control plane: {0}")]
    Discovery(#[from] DiscoveryError),
    /// It cannot start because its addresses are taken.
    #[error(
        "{address} is taken: another mesh runs on {loopback}; choose other addresses with --loopback, such as {alternative}"
    )]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The mesh's addresses.
        loopback: Loopback,
        /// Others.
        alternative: Loopback,
    },
    /// It cannot have a thread.
    #[error("the control plane: {0}")]
    Thread(#[source] std::io::Error),
    /// A name is none that a certificate could carry.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The root certificate cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// It ended without a word.
    #[error("the control plane has ended")]
    Ended,
}

/// What happens to a control plane by itself.
pub(crate) enum Happened {
    /// It has ended.
    Failed(ControlPlaneError),
    /// Other roots are trusted, and the file with them is written.
    RootsWritten(Result<(), StateError>),
}

/// A control plane that serves.
pub(crate) struct ControlPlane {
    resources: Resources,
    tokens: TokenIssuer,
    trust_domain: TrustDomain,
    root_cert: PathBuf,
    bundles: watch::Receiver<Arc<str>>,
    secure_xds: SocketAddr,
    monitoring: SocketAddr,
    ended: oneshot::Receiver<Result<(), DiscoveryError>>,
    drain: Drain,
    thread: JoinHandle<()>,
}

/// What the thread says when it serves.
struct Serving {
    resources: Resources,
    tokens: TokenIssuer,
    trust_domain: TrustDomain,
    bundles: watch::Receiver<Arc<str>>,
    secure_xds: SocketAddr,
    monitoring: SocketAddr,
}

impl ControlPlane {
    /// Starts it with these resources; keys are in `ca`.
    pub(crate) async fn start(
        loopback: Loopback,
        ca: PathBuf,
        initial: Vec<Event>,
    ) -> Result<Self, ControlPlaneError> {
        let (drain, signal) = Drain::new();
        let (serving, started) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let options = options(loopback, &ca, initial);
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("control-plane")
            .enable_all()
            .build()
            .map_err(ControlPlaneError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("control-plane".to_owned())
            .spawn(move || runtime.block_on(run(options, signal, serving, over)))
            .map_err(ControlPlaneError::Thread)?;
        let serving = started.await.map_err(|_| ControlPlaneError::Ended)?;
        let Serving {
            resources,
            tokens,
            trust_domain,
            bundles,
            secure_xds,
            monitoring,
        } = serving.map_err(|error| explain(error, loopback))?;
        let root_cert = ca.join(ROOTS);
        write_private(&root_cert, bundles.borrow().as_bytes())?;
        Ok(Self {
            resources,
            tokens,
            trust_domain,
            root_cert,
            bundles,
            secure_xds,
            monitoring,
            ended,
            drain,
            thread,
        })
    }

    /// xDS and certificates over TLS.
    pub(crate) fn discovery(&self) -> SocketAddr {
        self.secure_xds
    }

    /// Debug endpoints and metrics.
    pub(crate) fn debug(&self) -> SocketAddr {
        self.monitoring
    }

    /// The file with what proxies must trust.
    pub(crate) fn root_cert(&self) -> &Path {
        &self.root_cert
    }

    /// The trust domain.
    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Passes changes on.
    pub(crate) fn forward(&self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Apply(config) => self.resources.apply((*config).clone()),
                Event::Delete(id) => self.resources.delete(id),
                // what is wrong with files is told by the mesh's loop
                Event::Init | Event::Ready | Event::Problems(_) => {}
            }
        }
    }

    /// A token for the proxies of a service account.
    pub(crate) fn token(
        &self,
        namespace: &str,
        account: &str,
        lifetime: Duration,
    ) -> Result<String, ControlPlaneError> {
        Ok(self.tokens.issue(namespace, account, lifetime)?)
    }

    /// Waits until it ends by itself, which it never should, or other roots are trusted. Those are
    /// written to the file: pods that start from then on know them from the beginning.
    pub(crate) async fn happened(&mut self) -> Happened {
        tokio::select! {
            ended = &mut self.ended => Happened::Failed(match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) | Err(_) => ControlPlaneError::Ended,
            }),
            Ok(()) = self.bundles.changed() => {
                let bundle = self.bundles.borrow_and_update().clone();
                Happened::RootsWritten(write_private(&self.root_cert, bundle.as_bytes()))
            }
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.drain.start();
        // ignored: if it is gone without a word, it has ended
        let _ = self.ended.await;
        let _ = self.thread.join();
    }
}

async fn run(
    options: Options,
    signal: DrainSignal,
    serving: oneshot::Sender<Result<Serving, DiscoveryError>>,
    over: oneshot::Sender<Result<(), DiscoveryError>>,
) {
    let control_plane = match Discovery::start(options, signal).await {
        Ok(control_plane) => control_plane,
        Err(error) => {
            // ignored: whoever started it has gone
            let _ = serving.send(Err(error));
            return;
        }
    };
    let addresses = control_plane.addresses();
    // ignored: as above
    let _ = serving.send(Ok(Serving {
        resources: control_plane.resources().clone(),
        tokens: control_plane.tokens().clone(),
        trust_domain: control_plane.trust_domain().clone(),
        bundles: control_plane.bundles(),
        secure_xds: addresses.secure_xds,
        monitoring: addresses.monitoring,
    }));
    let _ = over.send(control_plane.finished().await);
}

fn options(loopback: Loopback, ca: &Path, initial: Vec<Event>) -> Options {
    let at = |port| SocketAddr::new(loopback.control_plane(), port);
    let mut options = Options::new(ca);
    // Nobody is far away.
    options.rotation_settle = Duration::from_secs(1);
    options.http = at(HTTP_PORT);
    options.monitoring = at(MONITORING_PORT);
    options.plaintext_xds = Some(at(PLAINTEXT_XDS_PORT));
    options.secure_xds = at(SECURE_XDS_PORT);
    let configs = initial.into_iter().filter_map(|event| match event {
        Event::Apply(config) => Some((*config).clone()),
        Event::Init | Event::Delete(_) | Event::Problems(_) | Event::Ready => None,
    });
    options.resources = configs.collect();
    let mut meshes = options.resources.iter().filter_map(|config| match config {
        Config::MeshConfig(mesh) => Some(mesh.as_ref()),
        _ => None,
    });
    if let Some(MeshConfig { trust_domain, .. }) = meshes.next() {
        options.trust_domain = Some(trust_domain.clone());
    }
    options
}

fn explain(error: DiscoveryError, loopback: Loopback) -> ControlPlaneError {
    match error {
        DiscoveryError::Listen { address, error, .. }
            if error.kind() == std::io::ErrorKind::AddrInUse =>
        {
            ControlPlaneError::Taken {
                address,
                loopback,
                alternative: loopback.other(),
            }
        }
        error => error.into(),
    }
}
