//! The client of a benchmark: a fixed number of requests at a time, each as soon as the
//! last is answered. Prints one line: requests, errors, and latencies in microseconds.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Work;

/// Streams on one HTTP/2 connection.
const STREAMS: usize = 8;

/// What one task saw.
#[derive(Default)]
struct Seen {
    /// Microseconds of each request.
    latencies: Vec<u32>,
    errors: u64,
}

/// Runs the load and prints what it saw.
pub fn run(work: Work, address: SocketAddr, concurrency: usize, time: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = runtime.block_on(async move {
        let until = Instant::now() + time;
        let mut tasks = Vec::new();
        match work {
            Work::Http1 => {
                for _ in 0..concurrency {
                    tasks.push(tokio::spawn(http1(address, until)));
                }
            }
            Work::Http2 => {
                for _ in 0..concurrency.div_ceil(STREAMS) {
                    let sender = connect_http2(address).await?;
                    for _ in 0..STREAMS.min(concurrency) {
                        tasks.push(tokio::spawn(http2(sender.clone(), until)));
                    }
                }
            }
        }
        let mut all = Seen::default();
        for task in tasks {
            let seen = task.await?;
            all.latencies.extend(seen.latencies);
            all.errors += seen.errors;
        }
        anyhow::Ok(all)
    })?;
    let mut latencies = seen.latencies;
    latencies.sort_unstable();
    let at = |share: f64| {
        latencies
            .get((latencies.len() as f64 * share) as usize)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{} {} {} {}",
        latencies.len(),
        seen.errors,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

async fn http1(address: SocketAddr, until: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut stream: Option<TcpStream> = None;
    let mut buffer = Vec::with_capacity(64 * 1024);
    while Instant::now() < until {
        let start = Instant::now();
        let mut connection = match stream.take() {
            Some(connection) => connection,
            None => match TcpStream::connect(address).await {
                Ok(connection) => {
                    let _ = connection.set_nodelay(true);
                    connection
                }
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

async fn exchange(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    const REQUEST: &[u8] =
        b"GET /bench HTTP/1.1\r\nhost: bench.example\r\nuser-agent: bench/1\r\naccept: */*\r\n\r\n";
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

async fn connect_http2(address: SocketAddr) -> Result<h2::client::SendRequest<bytes::Bytes>> {
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

async fn http2(sender: h2::client::SendRequest<bytes::Bytes>, until: Instant) -> Seen {
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

fn micros(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)
}
