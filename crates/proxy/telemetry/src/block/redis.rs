//! `redis.<stat_prefix>.*` and `cluster.<name>.redis_cluster.*`: Redis proxying.

use std::sync::OnceLock;

use super::stat_block;
use crate::{Counter, Gauge, Histogram, StatBlock, StatRef};

stat_block! {
    /// `redis.<stat_prefix>.*`: what a Redis proxy does.
    RedisStats {
        Counter {
            downstream_cx_drain_close,
            downstream_cx_protocol_error,
            downstream_cx_rx_bytes_total,
            downstream_cx_total,
            downstream_cx_tx_bytes_total,
            downstream_rq_noproto,
            downstream_rq_total,
            invalid_request = "splitter.invalid_request",
            unsupported_command = "splitter.unsupported_command",
        }
        Gauge {
            downstream_cx_active,
            downstream_cx_rx_bytes_buffered,
            downstream_cx_tx_bytes_buffered,
            downstream_rq_active,
        }
        CommandBlocks<RedisCommandStats> {
            command,
        }
    }
}

stat_block! {
    /// `redis.<stat_prefix>.command.<command>.*`.
    RedisCommandStats {
        Counter {
            delay_fault,
            error,
            error_fault,
            success,
            total,
        }
        Histogram {
            latency,
        }
    }
}

stat_block! {
    /// `cluster.<name>.redis_cluster.*`: what Redis proxies do with a cluster.
    RedisClusterStats {
        Counter {
            connection_rate_limited,
            max_upstream_unknown_connections_reached,
            upstream_cx_drained,
            upstream_resp3_hello_failure,
        }
        UpstreamCommandsStats {
            upstream_commands,
        }
    }
}

stat_block! {
    /// `cluster.<name>.redis_cluster.upstream_commands.<command>.*`; times in microseconds.
    UpstreamCommandStats {
        Counter {
            failure,
            success,
            total,
        }
        Histogram {
            latency,
        }
    }
}

/// `cluster.<name>.redis_cluster.upstream_commands.*`.
#[derive(Debug, Default)]
pub struct UpstreamCommandsStats {
    /// How long answers took, in microseconds.
    pub upstream_rq_time: Histogram,
    /// By command, where the proxy counts so.
    pub by_command: CommandBlocks<UpstreamCommandStats>,
}

impl StatBlock for UpstreamCommandsStats {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, StatRef<'a>)) {
        visit("upstream_rq_time", StatRef::from(&self.upstream_rq_time));
        self.by_command.visit(visit);
    }
}

impl<'a> From<&'a UpstreamCommandsStats> for StatRef<'a> {
    fn from(block: &'a UpstreamCommandsStats) -> Self {
        Self::Block(block)
    }
}

/// As many commands as can be counted.
const MOST: usize = 256;

/// A block for each command, from its first use on.
#[derive(Debug)]
pub struct CommandBlocks<T>(OnceLock<Box<[Slot<T>]>>);

/// A command's name and its block.
type Slot<T> = OnceLock<(&'static str, Box<T>)>;

impl<T> Default for CommandBlocks<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Default> CommandBlocks<T> {
    /// The block of a command, which always has the same number; all from 255 on share one.
    pub fn of(&self, number: usize, name: &'static str) -> &T {
        let slots = self
            .0
            .get_or_init(|| (0..MOST).map(|_| OnceLock::new()).collect());
        let slot = &slots[number.min(MOST - 1)];
        &slot.get_or_init(|| (name, Box::default())).1
    }
}

impl<T: StatBlock> StatBlock for CommandBlocks<T> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, StatRef<'a>)) {
        let slots = self.0.get().into_iter().flatten();
        for (name, block) in slots.filter_map(OnceLock::get) {
            visit(name, StatRef::Block(&**block));
        }
    }
}

impl<'a, T: StatBlock> From<&'a CommandBlocks<T>> for StatRef<'a> {
    fn from(blocks: &'a CommandBlocks<T>) -> Self {
        Self::Block(blocks)
    }
}
