//! Routes that lead nowhere: clusters that are referred to and do not exist.
//!
//! In: a proxy's dump. Out: a warning for each, which says what is missing. Such a route answers 503
//! with the flag `NC`, and nothing else in a proxy says why.

use std::collections::BTreeSet;

use super::describe::{ClusterKey, referred};
use crate::config_dump::ConfigDump;
use crate::terminal::Terminal;

/// Tells of every route whose cluster does not exist; only of hosts that `is_wanted` accepts.
pub(super) fn warn(dump: &ConfigDump, terminal: &Terminal, is_wanted: impl Fn(&str) -> bool) {
    let clusters = dump.clusters().messages;
    let names: BTreeSet<_> = clusters.iter().map(|it| it.name.as_str()).collect();
    if names.is_empty() {
        // a dump of routes alone says nothing of clusters
        return;
    }
    let mut told = BTreeSet::new();
    for table in dump.routes().messages {
        for host in &table.virtual_hosts {
            for cluster in host.routes.iter().flat_map(referred) {
                let missing = !names.contains(cluster) && is_wanted(cluster);
                if missing && told.insert((host.name.clone(), cluster.to_owned())) {
                    terminal.warning(&format!(
                        "route {}/{} refers to cluster {cluster} which does not exist: {}",
                        table.name,
                        host.name,
                        reason(cluster, &names)
                    ));
                }
            }
        }
    }
}

fn reason(cluster: &str, names: &BTreeSet<&str>) -> String {
    let Some(key) = ClusterKey::parse(cluster) else {
        return "no such cluster was delivered".to_owned();
    };
    let ClusterKey {
        host, subset, port, ..
    } = key;
    let mut others = names.iter().filter_map(|name| ClusterKey::parse(name));
    if !subset.is_empty() {
        return format!("no DestinationRule for {host} defines subset {subset}");
    }
    match others.find(|other| other.host == host) {
        Some(other) => format!("{host} has no port {port}, but {}", other.port),
        None => format!("there is no service {host} that this proxy sees"),
    }
}
