//! Reads just enough of a connection to know what it speaks.

use std::io;

use meltemi_net::{ClientHello, HttpVersion, Inspection, inspect_http, inspect_tls};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspectors {
    /// TLS.
    pub tls: bool,
    /// HTTP, where it is not TLS.
    pub http: bool,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sniffed {
    /// The bytes read so far; they belong to the stream.
    pub bytes: Vec<u8>,
    /// The TLS client's wishes, if it is TLS.
    pub tls: Option<ClientHello>,
    /// The HTTP version, if it is HTTP.
    pub http: Option<HttpVersion>,
    /// The client closed before anything was certain.
    pub closed: bool,
}

/// Decides from what has been read; none asks for more.
fn decide(inspectors: Inspectors, sniffed: &mut Sniffed) -> bool {
    if inspectors.tls {
        match inspect_tls(&sniffed.bytes) {
            Inspection::More => return false,
            Inspection::Is(hello) => {
                sniffed.tls = Some(hello);
                return true;
            }
            Inspection::No => {}
        }
    }
    if inspectors.http {
        match inspect_http(&sniffed.bytes) {
            Inspection::More => return false,
            Inspection::Is(version) => sniffed.http = Some(version),
            Inspection::No => {}
        }
    }
    true
}

/// Reads into `sniffed` until it is decided. Cancelling keeps what has been read, so that
/// a caller whose time is over can go on without the answer.
pub(crate) async fn sniff(
    stream: &mut TcpStream,
    inspectors: Inspectors,
    sniffed: &mut Sniffed,
) -> io::Result<()> {
    if !inspectors.tls && !inspectors.http {
        return Ok(());
    }
    if !sniffed.bytes.is_empty() && decide(inspectors, sniffed) {
        return Ok(());
    }
    let mut part = [0u8; 2048];
    loop {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            sniffed.closed = true;
            return Ok(());
        }
        sniffed.bytes.extend_from_slice(&part[..count]);
        if decide(inspectors, sniffed) {
            return Ok(());
        }
    }
}
