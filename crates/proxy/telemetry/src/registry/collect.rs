//! The statistics of all blocks, the shards of each added up.

use std::sync::Arc;

use meltemi_lifecycle::WorkerId;

use crate::{HistogramSnapshot, Sharded, StatBlock, StatRef, StatsRegistry};

use super::Blocks;

/// The statistics of one block.
pub(super) struct Scope {
    /// What their names begin with, the dot included.
    pub prefix: String,
    /// What the names of their Prometheus metrics begin with.
    pub metric: &'static str,
    /// What Prometheus labels say in place of the prefix.
    pub labels: Vec<(&'static str, String)>,
    /// Name within the block, and value.
    pub stats: Vec<(String, Value)>,
}

/// The value of one statistic over all shards.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Counter(u64),
    Gauge { value: i64, used: bool },
    Number(u64),
    Histogram(HistogramSnapshot),
    Text(String),
}

impl Value {
    pub fn used(&self) -> bool {
        match self {
            Self::Counter(count) => *count > 0,
            Self::Gauge { used, .. } => *used,
            Self::Number(number) => *number != 0,
            Self::Histogram(histogram) => histogram.count > 0,
            Self::Text(text) => !text.is_empty(),
        }
    }

    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(count)) => *sum += count,
            (
                Self::Gauge { value, used },
                Self::Gauge {
                    value: more,
                    used: also,
                },
            ) => {
                *value += more;
                *used |= also;
            }
            (Self::Number(own), Self::Number(number)) => *own |= number,
            (Self::Histogram(sum), Self::Histogram(histogram)) => sum.merge(&histogram),
            (Self::Text(own), Self::Text(text)) if own.is_empty() => *own = text,
            // A name has the same kind in every shard, and one shard's text is enough.
            _ => {}
        }
    }
}

impl StatsRegistry {
    /// Every statistic, block by block.
    pub(super) fn collect(&self) -> Vec<Scope> {
        let mut scopes = vec![
            fixed("server", &self.server),
            fixed("listener_manager", &self.listener_manager),
            fixed("cluster_manager", &self.cluster_manager),
            fixed("control_plane", &self.control_plane),
        ];
        // The handles are taken under the lock, the numbers without it.
        let blocks = self.lock().clone();
        named(&mut scopes, &blocks);
        paired(&mut scopes, &blocks);
        scopes.extend(
            blocks
                .extensions
                .iter()
                .map(|((prefix, _), extension)| Scope {
                    prefix: prefix.clone(),
                    metric: extension.metric,
                    labels: extension.labels.clone(),
                    stats: extension.shards.sum(),
                }),
        );
        scopes
    }

    /// Calls `visit` with every shard of every block.
    pub(super) fn each_shard(&self, mut visit: impl FnMut(&dyn StatBlock)) {
        fn all<T: StatBlock>(block: &Sharded<T>, visit: &mut dyn FnMut(&dyn StatBlock)) {
            block.iter().for_each(|shard| visit(shard));
        }
        let visit = &mut visit;
        all(&self.server, visit);
        all(&self.listener_manager, visit);
        all(&self.cluster_manager, visit);
        all(&self.control_plane, visit);
        let blocks = self.lock().clone();
        blocks.clusters.values().for_each(|block| all(block, visit));
        blocks
            .listeners
            .values()
            .for_each(|block| all(block, visit));
        blocks.http.values().for_each(|block| all(block, visit));
        blocks.tcp.values().for_each(|block| all(block, visit));
        blocks
            .listener_http
            .values()
            .for_each(|block| all(block, visit));
        blocks.rds.values().for_each(|block| all(block, visit));
        for extension in blocks.extensions.values() {
            extension.shards.each(visit);
        }
    }
}

/// A block of any type.
pub(super) trait Shards: Send + Sync + std::fmt::Debug {
    /// The sum over its shards.
    fn sum(&self) -> Vec<(String, Value)>;

    /// Calls `visit` with each shard.
    fn each(&self, visit: &mut dyn FnMut(&dyn StatBlock));
}

impl<T: StatBlock + std::fmt::Debug> Shards for Sharded<T> {
    fn sum(&self) -> Vec<(String, Value)> {
        sum(self)
    }

    fn each(&self, visit: &mut dyn FnMut(&dyn StatBlock)) {
        self.iter().for_each(|shard| visit(shard));
    }
}

fn fixed<T: StatBlock>(name: &'static str, block: &Sharded<T>) -> Scope {
    Scope {
        prefix: format!("{name}."),
        metric: name,
        labels: Vec::new(),
        stats: sum(block),
    }
}

fn named(scopes: &mut Vec<Scope>, blocks: &Blocks) {
    fn add<'a, T: StatBlock + 'a>(
        scopes: &mut Vec<Scope>,
        metric: &'static str,
        label: &'static str,
        blocks: impl IntoIterator<Item = (&'a String, &'a Arc<Sharded<T>>)>,
    ) {
        scopes.extend(blocks.into_iter().map(|(name, block)| Scope {
            prefix: format!("{metric}.{name}."),
            metric,
            labels: vec![(label, name.clone())],
            stats: sum(block),
        }));
    }
    add(scopes, "cluster", "envoy_cluster_name", &blocks.clusters);
    add(
        scopes,
        "http",
        "envoy_http_conn_manager_prefix",
        &blocks.http,
    );
    add(scopes, "tcp", "envoy_tcp_prefix", &blocks.tcp);
    add(
        scopes,
        "listener",
        "envoy_listener_address",
        &blocks.listeners,
    );
    for (name, block) in &blocks.listeners {
        for worker in 0..block.workers() {
            let mut stats = read(block.shard(WorkerId(worker)));
            stats.retain(|(name, _)| {
                matches!(
                    name.as_str(),
                    "downstream_cx_active" | "downstream_cx_total"
                )
            });
            scopes.push(Scope {
                prefix: format!("listener.{name}.worker_{worker}."),
                metric: "listener_worker",
                labels: vec![
                    ("envoy_worker_id", worker.to_string()),
                    ("envoy_listener_address", name.clone()),
                ],
                stats,
            });
        }
    }
}

fn paired(scopes: &mut Vec<Scope>, blocks: &Blocks) {
    for ((listener, prefix), block) in &blocks.listener_http {
        scopes.push(Scope {
            prefix: format!("listener.{listener}.http.{prefix}."),
            metric: "listener_http",
            labels: vec![
                ("envoy_http_conn_manager_prefix", prefix.clone()),
                ("envoy_listener_address", listener.clone()),
            ],
            stats: sum(block),
        });
    }
    for ((prefix, routes), block) in &blocks.rds {
        scopes.push(Scope {
            prefix: format!("http.{prefix}.rds.{routes}."),
            metric: "http_rds",
            labels: vec![
                ("envoy_http_conn_manager_prefix", prefix.clone()),
                ("envoy_rds_route_config", routes.clone()),
            ],
            stats: sum(block),
        });
    }
}

/// The sum over a block's shards.
fn sum<T: StatBlock>(block: &Sharded<T>) -> Vec<(String, Value)> {
    let mut shards = block.iter().map(|shard| read(shard));
    let mut total = shards.next().unwrap_or_default();
    for shard in shards {
        // Shards have the same statistics in the same order, but for those that appear when they
        // first happen.
        let mut at = 0;
        for (name, value) in shard {
            let found = total[at..].iter().position(|(known, _)| *known == name);
            let found = found.map(|ahead| at + ahead);
            match found.or_else(|| total[..at].iter().position(|(known, _)| *known == name)) {
                Some(known) => {
                    total[known].1.merge(value);
                    at = known + 1;
                }
                None => {
                    total.insert(at, (name, value));
                    at += 1;
                }
            }
        }
    }
    total
}

/// The statistics of one shard.
fn read(shard: &dyn StatBlock) -> Vec<(String, Value)> {
    fn into(prefix: &str, block: &dyn StatBlock, stats: &mut Vec<(String, Value)>) {
        block.visit(&mut |name, stat| {
            let full = || format!("{prefix}{name}");
            let value = match stat {
                StatRef::Counter(counter) => Value::Counter(counter.get()),
                StatRef::Gauge(gauge) => Value::Gauge {
                    value: gauge.get(),
                    used: gauge.used(),
                },
                StatRef::Number(number) => Value::Number(number.get()),
                StatRef::Histogram(histogram) => {
                    let mut snapshot = HistogramSnapshot::default();
                    histogram.add_to(&mut snapshot);
                    Value::Histogram(snapshot)
                }
                StatRef::Text(text) => Value::Text(text.get()),
                StatRef::Codes(codes) => {
                    let prefix = full();
                    codes.visit(|code, count| {
                        stats.push((format!("{prefix}_{code}"), Value::Counter(count)));
                    });
                    return;
                }
                StatRef::Named(counters) => {
                    let prefix = full();
                    counters.visit(|name, count| {
                        stats.push((format!("{prefix}.{name}"), Value::Counter(count.get())));
                    });
                    return;
                }
                StatRef::Block(inner) => {
                    let nested = match name {
                        "" => prefix.to_owned(),
                        name => format!("{prefix}{name}."),
                    };
                    into(&nested, inner, stats);
                    return;
                }
                StatRef::Nothing => return,
            };
            stats.push((full(), value));
        });
    }
    let mut stats = Vec::new();
    into("", shard, &mut stats);
    stats
}

/// Sets every counter of a shard to zero.
pub(super) fn reset(block: &dyn StatBlock) {
    block.visit(&mut |_, stat| match stat {
        StatRef::Counter(counter) => counter.reset(),
        StatRef::Codes(codes) => codes.reset(),
        StatRef::Named(counters) => counters.visit(|_, counter| counter.reset()),
        StatRef::Block(inner) => reset(inner),
        StatRef::Gauge(_)
        | StatRef::Number(_)
        | StatRef::Histogram(_)
        | StatRef::Text(_)
        | StatRef::Nothing => {}
    });
}
