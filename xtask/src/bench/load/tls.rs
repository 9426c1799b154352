//! TLS clients: requests on lasting connections, and connections for the sake of their
//! handshakes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Seen, http1, micros};

/// One request, after which the connection ends.
const LAST_REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nhost: bench.example\r\nconnection: close\r\n\r\n";

/// A client that resumes no session, with the certificate of this name.
pub(super) fn connector(material: &Path, certificate: Option<&str>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(material.join("ca.pem"))?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match certificate {
        Some(name) => {
            let chain = CertificateDer::from_pem_file(material.join(format!("{name}.pem")))?;
            let key = PrivateKeyDer::from_pem_file(material.join(format!("{name}-key.pem")))?;
            builder.with_client_auth_cert(vec![chain], key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("bench.example")?;
    Ok(connector.connect(name, stream).await?)
}

/// Requests on a connection that lasts.
pub(super) async fn run(connector: TlsConnector, address: SocketAddr, until: Instant) -> Seen {
    http1::requests(until, || connect(&connector, address)).await
}

/// Connections, each for one request.
pub(super) async fn handshakes(
    connector: TlsConnector,
    address: SocketAddr,
    until: Instant,
) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        let start = Instant::now();
        match handshake(&connector, address).await {
            Ok(()) => seen.latencies.push(micros(start)),
            Err(_) => seen.errors += 1,
        }
    }
    seen
}

async fn handshake(connector: &TlsConnector, address: SocketAddr) -> Result<()> {
    let mut stream = connect(connector, address).await?;
    stream.write_all(LAST_REQUEST).await?;
    let mut answer = Vec::with_capacity(1024);
    // ignored: how the connection ends, once the answer is there
    let _ = stream.read_to_end(&mut answer).await;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("not a 200");
    }
    Ok(())
}
