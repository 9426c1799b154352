//! The agent, assembled.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use meltemi_lifecycle::{Clock, DrainSignal, Random};
use meltemi_proxy::Bootstrap;
use meltemi_spiffe::SpiffeId;
use meltemi_tls::SecretStore;
use meltemi_xds_client::StreamMetadata;
use tracing::warn;

use crate::{Identity, Options, SdsServer, bootstrap};

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
    let bootstrap = bootstrap(&options, &root_pem);
    let bootstrap = Bootstrap::from_yaml(&bootstrap.to_string(), "bootstrap")?;
    let secrets = SecretStore::new();
    let trust_domain = options.trust_domain.parse()?;
    let id = SpiffeId::workload(&trust_domain, &options.namespace, &options.service_account)?;
    let discovery = bootstrap
        .config
        .clusters
        .iter()
        .find(|cluster| cluster.name == "xds-grpc");
    let discovery = discovery.context("the bootstrap has no cluster xds-grpc")?;
    let identity = Identity {
        id,
        token: options.token.clone(),
        connector: meltemi_proxy::dial(discovery, &secrets)?,
        secrets: Arc::clone(&secrets),
        clock: Clock::system(),
    };
    let fresh = tokio::spawn(identity.keep_fresh(Random::from_entropy()));
    let sds = options.sds_socket.clone().map(|path| {
        let server = SdsServer::new(Arc::clone(&secrets));
        tokio::spawn(async move {
            if let Err(error) = server.serve(path.clone()).await {
                warn!(path = %path.display(), "cannot serve secrets: {error}");
            }
        })
    });
    let result = if options.run_proxy {
        let token = options.token.clone();
        let metadata: StreamMetadata = Arc::new(move || match std::fs::read_to_string(&token) {
            Ok(token) => vec![(
                "authorization".to_owned(),
                format!("Bearer {}", token.trim()),
            )],
            Err(error) => {
                warn!("cannot read the token {}: {error}", token.display());
                Vec::new()
            }
        });
        let proxy = meltemi_proxy::Options {
            concurrency: options.concurrency,
            drain_time: options.drain_time,
            secrets,
            ads_metadata: Some(metadata),
            logs: Arc::clone(&options.logs),
            delivered_clusters: vec!["sds-grpc".to_owned()],
            config_path: String::new(),
            hot_restart: None,
        };
        meltemi_proxy::run(bootstrap, proxy, shutdown).await
    } else {
        shutdown.draining().await;
        Ok(())
    };
    fresh.abort();
    if let Some(sds) = sds {
        sds.abort();
    }
    if let Some(path) = &options.sds_socket {
        let _ = std::fs::remove_file(path);
    }
    result
}
