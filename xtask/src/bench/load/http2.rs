//! HTTP/2: streams of one connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use http::Request;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Seen, micros};

/// A connection for several streams.
pub(super) async fn connect(address: SocketAddr) -> Result<h2::client::SendRequest<bytes::Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request after the other.
pub(super) async fn run(sender: h2::client::SendRequest<bytes::Bytes>, until: Instant) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        let start = Instant::now();
        match stream(&sender).await {
            Ok(()) => seen.latencies.push(micros(start)),
            Err(_) => {
                seen.errors += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    seen
}

async fn stream(sender: &h2::client::SendRequest<bytes::Bytes>) -> Result<()> {
    let mut sender = sender.clone().ready().await?;
    let request = Request::get("http://bench.example/bench")
        .header("user-agent", "bench/1")
        .header("accept", "*/*")
        .body(())?;
    let (response, _) = sender.send_request(request, true)?;
    let response = response.await?;
    if response.status() != 200 {
        bail!("not a 200");
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(())
}
