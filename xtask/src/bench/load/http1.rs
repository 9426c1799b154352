//! HTTP/1.1: one request after the other on a connection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Seen, micros};

const REQUEST: &[u8] =
    b"GET /bench HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench/1\r\naccept: */*\r\n\r\n";

/// Requests without TLS.
pub(super) async fn plain(address: SocketAddr, until: Instant) -> Seen {
    requests(until, || async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
    .await
}

/// Requests on connections that `connect` makes, one at a time.
pub(super) async fn requests<IO, Connecting>(
    until: Instant,
    connect: impl Fn() -> Connecting,
) -> Seen
where
    IO: AsyncRead + AsyncWrite + Unpin,
    Connecting: Future<Output = Result<IO>>,
{
    let mut seen = Seen::default();
    let mut stream: Option<IO> = None;
    let mut buffer = Vec::with_capacity(64 * 1024);
    while Instant::now() < until {
        let start = Instant::now();
        let mut connection = match stream.take() {
            Some(connection) => connection,
            None => match connect().await {
                Ok(connection) => connection,
                Err(_) => {
                    seen.errors += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        match exchange(&mut connection, &mut buffer).await {
            Ok(()) => {
                seen.latencies.push(micros(start));
                stream = Some(connection);
            }
            Err(_) => seen.errors += 1,
        }
    }
    seen
}

async fn exchange<IO>(stream: &mut IO, buffer: &mut Vec<u8>) -> Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(REQUEST).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("closed");
        }
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?;
            if !head.starts_with("HTTP/1.1 200") {
                bail!("not a 200");
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .context("content-length")?;
            let whole = end + 4 + length.parse::<usize>()?;
            while buffer.len() < whole {
                if stream.read_buf(buffer).await? == 0 {
                    bail!("closed");
                }
            }
            return Ok(());
        }
    }
}
