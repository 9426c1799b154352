//! TCP checks: a connection, and perhaps bytes back and forth.

use meltemi_ir::HealthCheck;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Verdict, connect};
use crate::{Cluster, Host};

const HEALTHY: Verdict = Verdict::Healthy {
    degraded: false,
    excluded: false,
};

pub(super) async fn check(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    send: &[u8],
    receive: &[Vec<u8>],
) -> Verdict {
    let Some(mut stream) = connect(cluster, host, settings, &[]).await else {
        return Verdict::Network;
    };
    if !send.is_empty() && stream.write_all(send).await.is_err() {
        return Verdict::Network;
    }
    let mut seen = Vec::new();
    while !holds(&seen, receive) {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return Verdict::Network,
            Ok(_) => {}
        }
    }
    HEALTHY
}

/// Whether the parts come one after the other in `bytes`, with anything between.
pub(super) fn holds(bytes: &[u8], parts: &[Vec<u8>]) -> bool {
    let mut rest = bytes;
    parts.iter().all(|part| {
        let found = rest
            .windows(part.len().max(1))
            .position(|window| window == part.as_slice());
        match found {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => part.is_empty(),
        }
    })
}
