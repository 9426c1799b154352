//! What a control plane is told at its start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::{IssuerOptions, Limits, Validity};
use meltemi_kubernetes::Access;
use meltemi_lifecycle::Clock;
use meltemi_model::{Config, NamespaceName};
use meltemi_spiffe::TrustDomain;

use crate::Overlay;

/// What a control plane is told at its start. Ports may be 0; [`crate::ControlPlane::addresses`]
/// tells which were taken.
#[derive(Clone)]
pub struct Options {
    /// Directories (or single files) of resources, which are watched.
    pub config: Vec<PathBuf>,
    /// The API server of a cluster whose resources are watched; those of the directories go before them.
    pub kubernetes: Option<Access>,
    /// A file with the mesh configuration (Istio's MeshConfig as such, or the ConfigMap that holds
    /// it), read once. A ConfigMap `istio` among the resources goes before it.
    pub mesh_config: Option<PathBuf>,
    /// Resources beside those of the directories, before which they go.
    pub resources: Vec<Config>,
    /// Adjusts each resource before it counts.
    pub overlay: Option<Arc<dyn Overlay>>,

    /// Where `/ready`, `/metrics` and `/debug` are; 8080.
    pub http: SocketAddr,
    /// Where the same are for scraping and the console; 15014.
    pub monitoring: SocketAddr,
    /// Where xDS is served in plain text to whoever asks; 127.0.0.1:15010, `None` for nowhere.
    pub plaintext_xds: Option<SocketAddr>,
    /// Allows `plaintext_xds` to be an address that other machines reach.
    pub expose_plaintext_xds: bool,
    /// Where xDS and the CSR service are served over TLS; 15012.
    pub secure_xds: SocketAddr,
    /// Where the webhook is that a cluster's API server asks whether resources are valid, over TLS; Istio's
    /// 15017, `None` for nowhere.
    pub webhooks: Option<SocketAddr>,
    /// Names of this server beside `istiod.<root namespace>.svc` and `localhost`.
    pub server_names: Vec<String>,
    /// Addresses of this server beside those that it listens on and the loopback addresses.
    pub server_addresses: Vec<IpAddr>,

    /// Where the authority's key and the key of the tokens are kept.
    pub ca_directory: PathBuf,
    /// A directory of the same files that somebody has plugged in (Istio's `cacerts`): it is used
    /// for signing in the place of `ca_directory`, and never written.
    pub plugged_ca: Option<PathBuf>,
    /// How long certificates are valid.
    pub validity: Validity,
    /// How much is signed for whom at a time.
    pub limits: Limits,
    /// Issuers whose tokens are believed, beside this program's own.
    pub issuers: Vec<IssuerOptions>,
    /// How long a rotation of the root waits for a proxy that has gone; a minute.
    pub rotation_patience: Duration,
    /// How long a step of it waits after everybody has followed, so that handshakes end that began
    /// before; 5 s.
    pub rotation_settle: Duration,
    /// The trust domain; unless given, that of the mesh configuration file, or `cluster.local`.
    pub trust_domain: Option<TrustDomain>,
    /// The root namespace; `istio-system`.
    pub root_namespace: NamespaceName,
    /// The DNS domain of services; `cluster.local`.
    pub domain: String,
    /// The revision of this control plane: Istio's resources whose label `istio.io/rev` names another do
    /// not count, and the mesh configuration is the ConfigMap `istio-REVISION` (`istio` for `default`).
    /// Without one, resources of every revision count.
    pub revision: Option<String>,

    /// A push waits until nothing has changed for this long; Istio's `PILOT_DEBOUNCE_AFTER`, 100 ms.
    pub debounce_quiet: Duration,
    /// A push waits at most this long; Istio's `PILOT_DEBOUNCE_MAX`, 10 s.
    pub debounce_maximum: Duration,
    /// For how many proxies resources are computed at a time; Istio's `PILOT_PUSH_THROTTLE`, 100.
    pub concurrent_pushes: usize,
    /// How many streams may begin in a second; the others wait up to a second and are then told to
    /// come back. Istio's `PILOT_MAX_REQUESTS_PER_SECOND`; no limit unless one is given.
    pub streams_per_second: Option<f64>,
    /// The workloads of headless services are chains of one listener for each port, and not a listener
    /// each; Istio's `PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER`, no.
    pub headless_by_range: bool,
    /// Allows an issuer's keys to be fetched from a private address to which its own redirects.
    pub private_key_redirects: bool,
    /// How long the entry of a workload that registered itself stays after it has gone; Istio's
    /// `PILOT_WORKLOAD_ENTRY_GRACE_PERIOD`, 10 s.
    pub registration_grace: Duration,
    /// The name of this control plane in the annotations of such entries; Istio's is that of its Pod.
    pub instance: String,
    /// The clock.
    pub clock: Clock,
}

impl Options {
    /// Istio's ports and settings, with the authority in `ca_directory` and no resources.
    pub fn new(ca_directory: impl Into<PathBuf>) -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            config: Vec::new(),
            kubernetes: None,
            mesh_config: None,
            resources: Vec::new(),
            overlay: None,
            http: any(8080),
            monitoring: any(15014),
            plaintext_xds: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 15010))),
            expose_plaintext_xds: false,
            secure_xds: any(15012),
            webhooks: None,
            server_names: Vec::new(),
            server_addresses: Vec::new(),
            ca_directory: ca_directory.into(),
            plugged_ca: None,
            validity: Validity::default(),
            limits: Limits::default(),
            issuers: Vec::new(),
            rotation_patience: Duration::from_secs(60),
            rotation_settle: Duration::from_secs(5),
            trust_domain: None,
            root_namespace: "istio-system".into(),
            domain: "cluster.local".to_owned(),
            revision: None,
            debounce_quiet: Duration::from_millis(100),
            debounce_maximum: Duration::from_secs(10),
            concurrent_pushes: 100,
            streams_per_second: None,
            headless_by_range: false,
            private_key_redirects: false,
            registration_grace: Duration::from_secs(10),
            instance: "meltemi".to_owned(),
            clock: Clock::system(),
        }
    }
}
