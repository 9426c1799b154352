//! Bytes in writes of a megabyte, as fast as they are taken.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Seen, micros};

/// One connection.
pub(super) async fn run(address: SocketAddr, until: Instant) -> Seen {
    let mut seen = Seen::default();
    let Ok(mut stream) = TcpStream::connect(address).await else {
        seen.errors += 1;
        return seen;
    };
    let megabyte = vec![b'x'; 1_000_000];
    loop {
        let start = Instant::now();
        match timeout_at(until, stream.write_all(&megabyte)).await {
            Ok(Ok(())) => seen.latencies.push(micros(start)),
            Ok(Err(_)) => {
                seen.errors += 1;
                return seen;
            }
            Err(_) => return seen,
        }
    }
}
