//! Names of `STRICT_DNS` and `LOGICAL_DNS` clusters: resolved by the system, again and again.
//!
//! The manager runs one [`follow`] for each such cluster on the main runtime. A failure
//! leaves the last good addresses in place.

use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Duration;

use meltemi_ir::{Discovery, DnsFamily, LoadAssignment};

use crate::Cluster;
use crate::endpoints::{self, Names, Resolved};
use crate::host::NewHost;

/// The least time between two lookups of one cluster.
const SHORTEST: Duration = Duration::from_millis(1);

/// Resolves the cluster's names until it is retired, and gives each round's hosts to
/// `found`; nothing where every name failed.
pub(crate) async fn follow(
    cluster: Weak<Cluster>,
    found: impl Fn(&std::sync::Arc<Cluster>, Option<Vec<NewHost>>),
) {
    let mut resolved = Resolved::new();
    loop {
        let Some((config, names, family, refresh)) = cluster.upgrade().and_then(|cluster| {
            let config = cluster.config().clone();
            let (assignment, names, family, refresh) = settings(&config.discovery)?;
            let names = (names, endpoints::names(assignment));
            (!cluster.is_retired()).then(|| (config.clone(), names, family, refresh))
        }) else {
            return;
        };
        let (kind, names) = names;
        let mut failed = 0;
        for (name, port) in &names {
            match lookup(name, *port, family).await {
                Ok(addresses) => {
                    resolved.insert((name.clone(), *port), addresses);
                }
                Err(error) => {
                    failed += 1;
                    tracing::debug!(cluster = config.name, name, %error, "name not resolved");
                }
            }
        }
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let stats = cluster.stats(meltemi_lifecycle::WorkerId::MAIN);
        stats.update_attempt.inc();
        if failed > 0 && failed == names.len() {
            stats.update_failure.inc();
            found(&cluster, None);
        } else if let Some((assignment, ..)) = settings(&config.discovery) {
            stats.update_success.inc();
            found(
                &cluster,
                Some(endpoints::hosts(assignment, kind, &resolved)),
            );
        }
        drop(cluster);
        tokio::time::sleep(refresh.max(SHORTEST)).await;
    }
}

fn settings(discovery: &Discovery) -> Option<(&LoadAssignment, Names, DnsFamily, Duration)> {
    match discovery {
        Discovery::StrictDns {
            load_assignment,
            family,
            refresh,
        } => Some((load_assignment, Names::EachAddress, *family, *refresh)),
        Discovery::LogicalDns {
            load_assignment,
            family,
            refresh,
        } => Some((load_assignment, Names::OneHost, *family, *refresh)),
        Discovery::Static(_)
        | Discovery::Eds { .. }
        | Discovery::OriginalDst { .. }
        | Discovery::ForwardProxy(_) => None,
    }
}

/// The addresses of a name that count, asked of the system; an address is its own.
pub(crate) async fn lookup(
    name: &str,
    port: u16,
    family: DnsFamily,
) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((name, port)).await?;
    Ok(of_family(found.collect(), family))
}

/// The addresses that count, each once and in the resolver's order.
pub(crate) fn of_family(mut addresses: Vec<SocketAddr>, family: DnsFamily) -> Vec<SocketAddr> {
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    let has_v4 = addresses.iter().any(SocketAddr::is_ipv4);
    let has_v6 = addresses.iter().any(SocketAddr::is_ipv6);
    let v4 = match family {
        DnsFamily::V4Only => true,
        DnsFamily::V6Only => false,
        DnsFamily::All => return addresses,
        DnsFamily::Auto => !has_v6,
        DnsFamily::V4Preferred => has_v4,
    };
    addresses.retain(|address| address.is_ipv4() == v4);
    addresses
}
