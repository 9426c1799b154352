//! Reaching a management server over a static cluster.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use meltemi_ir::{Address, Cluster, Discovery};
use meltemi_tls::{Alpn, ClientContext, SecretStore, Wishes};
use meltemi_xds_client::{Connector, Io};
use tokio::net::{TcpStream, UnixStream};

/// Makes connections to a cluster's endpoints, each in turn, with the cluster's TLS.
///
/// # Errors
/// When the cluster has no fixed endpoints, or its TLS settings cannot be served.
pub fn dial(cluster: &Cluster, secrets: &Arc<SecretStore>) -> Result<Connector> {
    let assignment = match &cluster.discovery {
        Discovery::Static(assignment)
        | Discovery::StrictDns {
            load_assignment: assignment,
            ..
        }
        | Discovery::LogicalDns {
            load_assignment: assignment,
            ..
        } => assignment,
        Discovery::Eds { .. } | Discovery::OriginalDst { .. } | Discovery::ForwardProxy(_) => {
            bail!(
                "cluster {}: a management server is reached by a STATIC or DNS cluster",
                cluster.name
            )
        }
    };
    let endpoints = assignment
        .localities
        .iter()
        .flat_map(|locality| &locality.endpoints);
    let addresses: Arc<[Address]> = endpoints.map(|endpoint| endpoint.address.clone()).collect();
    if addresses.is_empty() {
        bail!("cluster {}: load_assignment has no endpoint", cluster.name);
    }
    let tls = match &cluster.tls {
        None => None,
        Some(tls) => Some(
            ClientContext::new(tls, Arc::clone(secrets))
                .with_context(|| format!("cluster {}: transport_socket", cluster.name))?,
        ),
    };
    let limit = cluster.connect_timeout;
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    Ok(Arc::new(move || {
        let next = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let address = addresses[next % addresses.len()].clone();
        let tls = tls.clone();
        Box::pin(async move {
            let connection = connect(address, tls);
            tokio::time::timeout(limit, connection)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        })
    }))
}

async fn connect(address: Address, tls: Option<Arc<ClientContext>>) -> io::Result<Box<dyn Io>> {
    let stream: Box<dyn Io> = match address {
        Address::Socket(address) => Box::new(no_delay(TcpStream::connect(address).await?)?),
        Address::Name { host, port } => {
            Box::new(no_delay(TcpStream::connect((host, port)).await?)?)
        }
        Address::Pipe(path) => Box::new(UnixStream::connect(path).await?),
    };
    Ok(match tls {
        None => stream,
        Some(tls) => {
            let wishes = Wishes::of_alpn(Alpn::Otherwise(&[b"h2"]));
            Box::new(tls.connect(stream, wishes).await?.0)
        }
    })
}

fn no_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
