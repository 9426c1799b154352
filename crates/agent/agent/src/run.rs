//! The agent, assembled.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use meltemi_lifecycle::{Clock, DrainSignal, Random};
use meltemi_proxy::{Bootstrap, DrainPlan};
use meltemi_spiffe::SpiffeId;
use meltemi_tls::SecretStore;
use meltemi_xds_client::{Connector, StreamMetadata};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::chain::check_bundle;
use crate::patches::PatchSource;
use crate::stream::StreamSource;
use crate::trust::TrustClient;
use crate::{
    CertificateClient, ControlPlaneRoots, Identity, Options, SdsServer, bootstrap, health, names,
};

/// How many bundles may wait.
const BUNDLES: usize = 4;

/// Runs the agent until `shutdown`; the proxy then drains.
///
/// # Errors
/// When the options name a file that cannot be read, or an address that cannot be bound.
pub async fn run(options: Options, mut shutdown: DrainSignal) -> Result<()> {
    let root_pem = std::fs::read_to_string(&options.root_cert).with_context(|| {
        format!(
            "cannot read the root certificate {}",
            options.root_cert.display()
        )
    })?;
    let control_plane = ControlPlaneRoots {
        secret: format!("file-root:{}", options.root_cert.display()),
        file: root_pem,
    };
    let bootstrap = bootstrap(&options, &control_plane.secret);
    let bootstrap = Bootstrap::from_yaml(&bootstrap.to_string(), "bootstrap")?;
    let node = bootstrap.node.clone();
    let secrets = SecretStore::new();
    secrets.set(&control_plane.secret, control_plane.with(""));
    let extra_roots = options.start.ca_certificates.clone();
    if !extra_roots.is_empty() {
        check_bundle(&extra_roots).map_err(anyhow::Error::msg)?;
    }
    let trust_domain = options.trust_domain.parse()?;
    let id = SpiffeId::workload(&trust_domain, &options.namespace, &options.service_account)?;
    let discovery = bootstrap
        .config
        .clusters
        .iter()
        .find(|cluster| cluster.name == "xds-grpc");
    let discovery = discovery.context("the bootstrap has no cluster xds-grpc")?;
    let connector = meltemi_proxy::dial(discovery, &secrets)?;
    let mut tasks = JoinSet::new();
    let sds = options.sds_socket.clone().map(|path| {
        let server = SdsServer::new(Arc::clone(&secrets));
        let deliveries = server.deliveries();
        tasks.spawn(async move {
            if let Err(error) = server.serve(path.clone()).await {
                warn!(path = %path.display(), "cannot serve secrets: {error}");
            }
        });
        deliveries
    });
    let (updates, bundles) = mpsc::channel(BUNDLES);
    let source = StreamSource {
        connector: Connector::clone(&connector),
        token: options.token.clone(),
        node,
    };
    let started = names::start(&options, source.clone(), &mut tasks).await;
    started.context("cannot serve DNS")?;
    health::start(&options, source.clone(), &mut tasks);
    let trust = TrustClient {
        source: source.clone(),
        updates,
    };
    tasks.spawn(trust.run(Random::from_entropy()));
    let identity = Identity {
        client: CertificateClient {
            id,
            key: options.key,
            holder: options.node_id(),
            token: options.token.clone(),
            connector,
        },
        renewal: options.renewal,
        secrets: Arc::clone(&secrets),
        control_plane,
        extra_roots,
        deliveries: sds,
        clock: Clock::system(),
    };
    tasks.spawn(identity.keep_fresh(Random::from_entropy(), bundles));
    let result = if options.run_proxy {
        let patches = PatchSource(&source);
        let patched = tokio::select! {
            patched = patches.patch(&bootstrap) => patched,
            () = shutdown.draining() => None,
        };
        let proxy = meltemi_proxy::Options {
            concurrency: options.concurrency,
            drain: DrainPlan {
                time: options.drain_time,
                gradual: false,
            },
            secrets,
            ads_metadata: Some(bearer(options.token.clone())),
            logs: Arc::clone(&options.logs),
            delivered_clusters: vec!["sds-grpc".to_owned()],
            config_path: String::new(),
            hot_restart: None,
        };
        meltemi_proxy::run(patched.unwrap_or(bootstrap), proxy, shutdown).await
    } else {
        shutdown.draining().await;
        Ok(())
    };
    tasks.shutdown().await;
    if let Some(path) = &options.sds_socket {
        let _ = std::fs::remove_file(path);
    }
    result
}

/// Who opens a stream, by the token as it is then.
fn bearer(token: PathBuf) -> StreamMetadata {
    Arc::new(move || match std::fs::read_to_string(&token) {
        Ok(token) => vec![(
            "authorization".to_owned(),
            format!("Bearer {}", token.trim()),
        )],
        Err(error) => {
            warn!("cannot read the token {}: {error}", token.display());
            Vec::new()
        }
    })
}
