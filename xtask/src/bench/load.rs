//! The client of a benchmark: a fixed number of requests, connections or handshakes at a time,
//! each as soon as the last is answered. Prints one line: how many, errors, and latencies in
//! microseconds.

mod http1;
mod http2;
mod tcp;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::Work;

/// What one task saw.
#[derive(Default)]
struct Seen {
    /// Microseconds of each unit.
    latencies: Vec<u32>,
    errors: u64,
}

/// Runs the load and prints what it saw.
pub fn run(
    work: Work,
    address: SocketAddr,
    concurrency: usize,
    time: Duration,
    material: &Path,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = runtime.block_on(async move {
        let until = Instant::now() + time;
        let mut tasks = Vec::new();
        match work {
            Work::Http1 => {
                for _ in 0..concurrency {
                    tasks.push(tokio::spawn(http1::plain(address, until)));
                }
            }
            Work::Http2 | Work::Http2Http1 => {
                let streams = work.streams();
                for _ in 0..concurrency.div_ceil(streams) {
                    let sender = http2::connect(address).await?;
                    for _ in 0..streams.min(concurrency) {
                        tasks.push(tokio::spawn(http2::run(sender.clone(), until)));
                    }
                }
            }
            Work::Tls => {
                let connector = tls::connector(material, None)?;
                for _ in 0..concurrency {
                    tasks.push(tokio::spawn(tls::run(connector.clone(), address, until)));
                }
            }
            Work::Tcp => {
                for _ in 0..concurrency {
                    tasks.push(tokio::spawn(tcp::run(address, until)));
                }
            }
            Work::Handshakes => {
                let connector = tls::connector(material, Some("client"))?;
                for _ in 0..concurrency {
                    let connector = connector.clone();
                    tasks.push(tokio::spawn(tls::handshakes(connector, address, until)));
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

fn micros(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)
}
