//! Starting everything, and ending it.
//!
//! In: [`Options`]. Out: a running control plane. The order of the start: the authority, the sockets,
//! HTTP, the resources; xDS is served once the first configuration is complete, so that a proxy that
//! comes back is never sent an empty one.

mod sockets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::{
    Authenticator, Authenticators, Authorities, CaDirectory, CaMetrics, ClientCertificates,
    CsrService, FileTokens, IssuerTokens, KubernetesTokens, Purpose, TokenIssuer, TokenKey,
};
use meltemi_kubernetes::Client;
use meltemi_lifecycle::{DrainSignal, Random};
use meltemi_model::{Config, Defaults, MeshConfig};
use meltemi_source::SourceError;
use meltemi_spiffe::TrustDomain;
use meltemi_translate::judge;
use meltemi_xds_server::{AdsService, Debounce, ProxyRegistry, ServiceConfig, XdsMetrics};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admission::ByIdentity;
use crate::grpc::accept::{Tls, connections};
use crate::grpc::certificate::ServerCertificate;
use crate::http::Observed;
use crate::keys::{IssuerFetcher, KeyClient, KeyFetcher};
use crate::layers::Change;
use crate::mesh::{Mesh, MeshOptions, Sources, Views};
use crate::metrics::MeshMetrics;
use crate::registration::{Registrar, RegistrarOptions, RegistrationMetrics};
use crate::review::Reviews;
use crate::trust::{Trust, TrustKeeper};
use crate::{DiscoveryError, MeshState, Options, Resources, grpc, http, mesh_file, webhook};
use sockets::Sockets;

/// How long streams have to end after the drain.
const GRACE: Duration = Duration::from_secs(5);
/// How many events a source may be ahead.
const SOURCE_AHEAD: usize = 1024;

/// The addresses that were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `/ready`, `/metrics`, `/debug`.
    pub http: SocketAddr,
    /// The same.
    pub monitoring: SocketAddr,
    /// xDS in plain text, if it is served.
    pub plaintext_xds: Option<SocketAddr>,
    /// xDS and CSR over TLS.
    pub secure_xds: SocketAddr,
    /// Webhooks over TLS, if they are served.
    pub webhooks: Option<SocketAddr>,
}

/// A running control plane. Dropping it ends it without grace.
pub struct ControlPlane {
    addresses: Addresses,
    authorities: Arc<Authorities>,
    bundles: watch::Receiver<Arc<str>>,
    tokens: TokenIssuer,
    states: watch::Receiver<Arc<MeshState>>,
    /// Kept until the sessions have said goodbye.
    views: Arc<Views>,
    resources: Resources,
    proxies: Arc<ProxyRegistry>,
    tasks: Tasks,
    drain: DrainSignal,
}

type Tasks = JoinSet<Result<(), DiscoveryError>>;

struct Authority {
    signers: Arc<Authorities>,
    key: TokenKey,
    authenticator: Arc<dyn Authenticator>,
    /// Whose tokens are believed.
    issuers: Vec<Arc<IssuerTokens>>,
}

impl Authority {
    fn trust(&self, options: &Options, proxies: &Arc<ProxyRegistry>) -> Arc<Trust> {
        let patience = options.rotation_patience;
        Arc::new(Trust::new(self.signers.clone(), proxies.clone(), patience))
    }

    /// Starts what fetches the keys of those who vouch for workloads.
    fn spawn_fetcher(&self, tasks: &mut Tasks, client: &Arc<KeyClient>, drain: &DrainSignal) {
        let issuers = IssuerFetcher {
            issuers: self.issuers.clone(),
            client: client.clone(),
            random: Random::from_entropy(),
        };
        quietly(tasks, issuers.run(drain.clone()));
    }

    fn csr_service(&self, options: &Options, metrics: &CaMetrics) -> CsrService {
        CsrService::new(
            self.signers.clone(),
            self.authenticator.clone(),
            options.limits,
            metrics.clone(),
        )
    }
}

/// What is served over gRPC.
struct Services {
    ads: AdsService,
    csr: CsrService,
    tls: Tls,
}

/// Runs a control plane until the drain.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub async fn run(options: Options, drain: DrainSignal) -> Result<(), DiscoveryError> {
    ControlPlane::start(options, drain).await?.finished().await
}

impl ControlPlane {
    /// Starts a control plane; it serves when this returns.
    ///
    /// # Errors
    /// When an address is taken, the authority's files or the directories cannot be read, or the
    /// drain begins before everything has started.
    pub async fn start(options: Options, drain: DrainSignal) -> Result<Self, DiscoveryError> {
        check_config(&options)?;
        let (base, trust_domain) = base_mesh(&options)?;
        let cluster = options.kubernetes.clone().map(Client::new).map(Arc::new);
        let authority = open_authority(&options, &trust_domain, cluster.as_ref())?;
        let sockets = Sockets::bind(&options)?;
        let addresses = sockets.addresses()?;
        let (certificate, renewal) = server_certificate(&options, &authority, &addresses)?;
        let mut figures = Registry::default();
        let ca_metrics = CaMetrics::register(&mut figures);
        let mesh = Mesh::new(
            MeshOptions {
                overlay: options.overlay.clone(),
                trust_domain: trust_domain.clone(),
                revision: options.revision.clone(),
                headless_by_range: options.headless_by_range,
                debounce: Debounce::new(options.debounce_quiet, options.debounce_maximum),
                metrics: MeshMetrics::register(&mut figures),
                clock: options.clock,
            },
            vec![Config::MeshConfig(Box::new(base))],
            options.resources.clone(),
        );
        let proxies = Arc::new(ProxyRegistry::default());
        let (resources, changes) = Resources::channel();
        let registrar = registrar(&options, &mesh, &resources, &mut figures);
        let admission = ByIdentity::new(authority.authenticator.clone(), registrar.clone());
        let services = Services {
            ads: AdsService::new(ServiceConfig {
                views: mesh.views().subscribe(),
                admission: Arc::new(admission),
                registry: proxies.clone(),
                metrics: XdsMetrics::register(&mut figures),
                concurrent_pushes: options.concurrent_pushes,
                streams_per_second: options.streams_per_second,
                clock: options.clock,
                drain: drain.clone(),
            }),
            csr: authority.csr_service(&options, &ca_metrics),
            tls: certificate.tls(),
        };
        let trust = authority.trust(&options, &proxies);
        let observed = Observed {
            states: mesh.states(),
            proxies: proxies.clone(),
            figures: Arc::new(figures),
            authenticator: authority.authenticator.clone(),
            trust: trust.clone(),
            clock: options.clock,
        };
        let mut tasks = Tasks::new();
        let shown = (&observed, certificate.tls());
        let (secure, plaintext) = serve_http(&mut tasks, sockets, shown, &options, &drain);
        let (states, views, bundles) = (mesh.states(), mesh.views().clone(), mesh.bundles());
        quietly(&mut tasks, registrar.run(drain.clone()));
        spawn_mesh(
            &mut tasks,
            (mesh, changes),
            &options,
            cluster.as_ref(),
            &drain,
        );
        let roots = authority.signers.standing().bundle_pem().concat();
        let key_client = key_client(&options, &roots)?;
        let (texts, bundle_texts) = watch::channel(roots.into());
        let keeper = TrustKeeper {
            trust,
            bundles,
            texts,
            keys: key_client.clone(),
            metrics: ca_metrics,
            clock: options.clock,
            settle: options.rotation_settle,
            ready: None,
        };
        keeper.publish();
        authority.spawn_fetcher(&mut tasks, &key_client, &drain);
        spawn_keys(&mut tasks, (&states, &resources), key_client, &drain);
        first_configuration(&mut tasks, states.clone(), drain.clone()).await?;
        services.spawn(&mut tasks, secure, plaintext, &drain);
        quietly(&mut tasks, certificate.keep_fresh(renewal, drain.clone()));
        quietly(&mut tasks, keeper.run(drain.clone()));
        info!(?addresses, %trust_domain, "control plane started");
        Ok(Self {
            addresses,
            authorities: authority.signers,
            bundles: bundle_texts,
            tokens: TokenIssuer::new(authority.key, trust_domain, options.clock),
            states,
            views,
            resources,
            proxies,
            tasks,
            drain,
        })
    }

    /// The addresses that were taken.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What proxies must trust, in PEM; replaced while a root is.
    pub fn bundles(&self) -> watch::Receiver<Arc<str>> {
        self.bundles.clone()
    }

    /// What proxies must trust now, in PEM.
    pub fn roots_pem(&self) -> String {
        self.bundles.borrow().to_string()
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        self.authorities.trust_domain()
    }

    /// Makes tokens with which workloads get their certificates.
    pub fn tokens(&self) -> &TokenIssuer {
        &self.tokens
    }

    /// The state of the mesh, replaced at each push and when problems change.
    pub fn states(&self) -> watch::Receiver<Arc<MeshState>> {
        self.states.clone()
    }

    /// Adds and removes resources beside those of the directories.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The connected proxies.
    pub fn proxies(&self) -> &Arc<ProxyRegistry> {
        &self.proxies
    }

    /// Waits for the end: until the drain, and then until the streams have ended.
    ///
    /// # Errors
    /// When a part ends by itself.
    pub async fn finished(self) -> Result<(), DiscoveryError> {
        let Self {
            mut tasks,
            mut drain,
            views: _views,
            ..
        } = self;
        loop {
            tokio::select! {
                () = drain.draining() => break,
                Some(ended) = tasks.join_next() => joined(ended)?,
                else => return Ok(()),
            }
        }
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                joined(ended)?;
            }
            Ok(())
        };
        match tokio::time::timeout(GRACE, all).await {
            Ok(result) => result,
            Err(_) => {
                warn!("connections were cut after {GRACE:?}");
                Ok(())
            }
        }
    }
}

impl Services {
    /// Everything on the secure port, and xDS on the plain one if there is one.
    fn spawn(
        self,
        tasks: &mut Tasks,
        secure: TcpListener,
        plaintext: Option<TcpListener>,
        drain: &DrainSignal,
    ) {
        let Self { ads, csr, tls } = self;
        if let Some(plaintext) = plaintext {
            let incoming = connections(plaintext, None, drain.clone());
            let ads = ads.clone();
            tasks.spawn(grpc::serve(
                "plaintext xDS",
                incoming,
                ads,
                None,
                drain.clone(),
            ));
        }
        let incoming = connections(secure, Some(tls), drain.clone());
        tasks.spawn(grpc::serve(
            "secure xDS",
            incoming,
            ads,
            Some(csr),
            drain.clone(),
        ));
    }
}

/// A directory that is not there is said at once, by its name.
fn check_config(options: &Options) -> Result<(), DiscoveryError> {
    for path in &options.config {
        std::fs::metadata(path).map_err(|reason| SourceError::Directory {
            path: path.display().to_string(),
            reason,
        })?;
    }
    Ok(())
}

fn defaults(options: &Options) -> Defaults {
    Defaults {
        root_namespace: options.root_namespace.clone(),
        domain: options.domain.clone(),
        revision: options.revision.clone(),
        judge: judge(),
        ..Defaults::default()
    }
}

/// The mesh configuration that holds where none is among the resources.
fn base_mesh(options: &Options) -> Result<(MeshConfig, TrustDomain), DiscoveryError> {
    let mut mesh = match &options.mesh_config {
        Some(path) => mesh_file::read(path, &defaults(options))?,
        None => {
            let mut mesh = MeshConfig::default();
            mesh.meta.namespace = options.root_namespace.clone();
            mesh.root_namespace = options.root_namespace.clone();
            mesh.domain.clone_from(&options.domain);
            mesh
        }
    };
    if let Some(trust_domain) = &options.trust_domain {
        mesh.trust_domain = trust_domain.clone();
    }
    let trust_domain = mesh.trust_domain.clone();
    Ok((mesh, trust_domain))
}

fn open_authority(
    options: &Options,
    domain: &TrustDomain,
    cluster: Option<&Arc<Client>>,
) -> Result<Authority, DiscoveryError> {
    let own = CaDirectory::new(&options.ca_directory);
    let key = own.token_key()?;
    let used = own.used_tokens();
    let tokens = FileTokens::new(key.clone(), domain.clone(), options.clock);
    let plugged = options.plugged_ca.as_ref().map(CaDirectory::new);
    let purpose = Purpose {
        trust_domain: domain.clone(),
        validity: options.validity,
        clock: options.clock,
    };
    let signers = Authorities::open(own, plugged, purpose)?;
    let mut ways: Vec<Arc<dyn Authenticator>> = vec![
        Arc::new(ClientCertificates::new(domain.clone())),
        Arc::new(tokens.remembering(&used)?),
    ];
    let mut issuers = Vec::new();
    for issuer in &options.issuers {
        let tokens = IssuerTokens::new(issuer.clone(), domain.clone(), options.clock);
        let tokens = tokens.map_err(|error| DiscoveryError::Issuer {
            issuer: issuer.issuer.clone(),
            error,
        })?;
        let tokens = Arc::new(tokens);
        issuers.push(tokens.clone());
        ways.push(tokens);
    }
    if let Some(client) = cluster {
        // After those who judge what they know by themselves: it is asked over the network.
        let reviews = Reviews(client.clone());
        ways.push(Arc::new(KubernetesTokens::new(reviews, domain.clone())));
    }
    Ok(Authority {
        signers: Arc::new(signers),
        key,
        authenticator: Arc::new(Authenticators::new(ways)),
        issuers,
    })
}

fn key_client(options: &Options, roots: &str) -> Result<Arc<KeyClient>, DiscoveryError> {
    let client = KeyClient::new(roots, options.private_key_redirects);
    let client = client.map_err(|error| DiscoveryError::Tls(error.to_string()))?;
    Ok(Arc::new(client))
}

/// A task that can only end with the drain.
fn quietly(tasks: &mut Tasks, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        Ok(())
    });
}

fn server_certificate(
    options: &Options,
    authority: &Authority,
    bound: &Addresses,
) -> Result<(ServerCertificate, Duration), DiscoveryError> {
    let root = options.root_namespace.as_str();
    let mut names = vec![
        format!("istiod.{root}.svc"),
        format!("istiod.{root}"),
        format!("istiod.{root}.svc.{}", options.domain),
        "localhost".to_owned(),
    ];
    names.extend(options.server_names.iter().cloned());
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let listening = bound.secure_xds.ip();
    addresses.extend((!listening.is_unspecified()).then_some(listening));
    addresses.extend(&options.server_addresses);
    let mut seen = Vec::new();
    addresses.retain(|it| {
        !seen.contains(it) && {
            seen.push(*it);
            true
        }
    });
    ServerCertificate::new(authority.signers.clone(), names, addresses, options.clock)
}

/// Starts what is served over HTTP; the sockets for xDS are left.
fn serve_http(
    tasks: &mut Tasks,
    sockets: Sockets,
    (observed, tls): (&Observed, Tls),
    options: &Options,
    drain: &DrainSignal,
) -> (TcpListener, Option<TcpListener>) {
    let Sockets {
        http,
        monitoring,
        plaintext,
        secure,
        webhooks,
    } = sockets;
    if let Some(socket) = webhooks {
        let webhooks = webhook::serve(socket, tls, defaults(options), drain.clone());
        quietly(tasks, webhooks);
    }
    for socket in [http, monitoring] {
        let serving = http::serve(socket, observed.clone(), drain.clone());
        quietly(tasks, serving);
    }
    (secure, plaintext)
}

fn registrar(
    options: &Options,
    mesh: &Mesh,
    resources: &Resources,
    figures: &mut Registry,
) -> Registrar {
    Registrar::new(RegistrarOptions {
        instance: options.instance.clone(),
        grace: options.registration_grace,
        states: mesh.states(),
        changes: resources.0.clone(),
        metrics: RegistrationMetrics::register(figures),
        clock: options.clock,
    })
}

/// Starts what fetches the keys of token issuers.
fn spawn_keys(
    tasks: &mut Tasks,
    (states, resources): (&watch::Receiver<Arc<MeshState>>, &Resources),
    client: Arc<KeyClient>,
    drain: &DrainSignal,
) {
    let keys = KeyFetcher {
        states: states.clone(),
        changes: resources.0.clone(),
        client,
        random: Random::from_entropy(),
    };
    quietly(tasks, keys.run(drain.clone()));
}

/// Starts what turns resources into views.
fn spawn_mesh(
    tasks: &mut Tasks,
    (mesh, changes): (Mesh, mpsc::UnboundedReceiver<Change>),
    options: &Options,
    cluster: Option<&Arc<Client>>,
    drain: &DrainSignal,
) {
    let (events, files) = mpsc::channel(SOURCE_AHEAD);
    let watching = meltemi_source::watch(options.config.clone(), defaults(options), events);
    tasks.spawn(async move { watching.await.map_err(DiscoveryError::from) });
    let kubernetes = cluster.map(|client| {
        let (events, kubernetes) = mpsc::channel(SOURCE_AHEAD);
        let watching = meltemi_kubernetes::watch(client.clone(), defaults(options), events);
        quietly(tasks, watching);
        kubernetes
    });
    let sources = Sources { files, kubernetes };
    quietly(tasks, mesh.run(sources, changes, drain.clone()));
}

/// Waits until everything that was there at the beginning has been read.
async fn first_configuration(
    tasks: &mut Tasks,
    mut states: watch::Receiver<Arc<MeshState>>,
    mut drain: DrainSignal,
) -> Result<(), DiscoveryError> {
    loop {
        tokio::select! {
            ready = states.wait_for(|state| state.ready) => {
                return ready.map(drop).map_err(|_| DiscoveryError::Stopped);
            }
            Some(ended) = tasks.join_next() => joined(ended)?,
            () = drain.draining() => return Err(DiscoveryError::Stopped),
        }
    }
}

fn joined(
    ended: Result<Result<(), DiscoveryError>, tokio::task::JoinError>,
) -> Result<(), DiscoveryError> {
    match ended {
        Ok(result) => result,
        Err(error) => Err(DiscoveryError::Ended {
            server: "a task",
            reason: error.to_string(),
        }),
    }
}
