//! The upstream of a benchmark: answers every request with a body of one size, or swallows
//! bytes, as cheaply as it can, so that the proxy is what is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Work;

/// Serves until killed.
pub fn run(work: Work, address: SocketAddr, body: usize, material: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n")
            .into_bytes();
    response.resize(response.len() + body, b'x');
    let response: &'static [u8] = response.leak();
    let body = Bytes::from(vec![b'x'; body]);
    let tls = match work {
        Work::Tls => Some(TlsAcceptor::from(Arc::new(tls(material)?))),
        _ => None,
    };
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match work {
                Work::Http1 | Work::Http2Http1 | Work::Handshakes => {
                    tokio::spawn(answer(stream, response));
                }
                Work::Http2 => {
                    tokio::spawn(answer_http2(stream, body.clone()));
                }
                Work::Tls => {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let Some(tls) = tls else { return };
                        match tls.accept(stream).await {
                            Ok(stream) => answer(stream, response).await,
                            Err(error) => eprintln!("the upstream's handshake: {error}"),
                        }
                    });
                }
                Work::Tcp => {
                    tokio::spawn(swallow(stream));
                }
            }
        }
    })
}

/// Demands a client's certificate, and resumes no session.
fn tls(material: &Path) -> Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(material.join("ca.pem"))?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let chain = CertificateDer::from_pem_file(material.join("server.pem"))?;
    let key = PrivateKeyDer::from_pem_file(material.join("server-key.pem"))?;
    Ok(ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![chain], key)?)
}

/// Requests carry no body, so that the end of a head is the end of a request.
async fn answer<IO>(mut stream: IO, response: &'static [u8])
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            buffer.drain(..end + 4);
            if stream.write_all(response).await.is_err() {
                return;
            }
        }
    }
}

async fn answer_http2(stream: TcpStream, body: Bytes) {
    let connection = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1000)
        .handshake(stream)
        .await;
    let Ok(mut connection) = connection else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let response = Response::builder()
            .header("content-type", "text/plain")
            .header("content-length", body.len())
            .body(());
        let Ok(response) = response else { return };
        if let Ok(mut stream) = respond.send_response(response, false) {
            // ignored: a proxy that is gone wants no answer
            let _ = stream.send_data(body.clone(), true);
        }
    }
}

async fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; 256 * 1024];
    while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {}
}
