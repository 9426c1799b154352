//! Circuit breakers: how much of a cluster's capacity is in use, over all workers.
//!
//! Pools and the HTTP router take a permit and give it back when what it stands for ends.
//! A limit of `u32::MAX`, which is how Istio writes "none", is not counted at all, so that
//! workers share nothing for it.

use std::sync::atomic::{AtomicU32, Ordering};

use meltemi_ir::{CircuitBreakers, Priority, Thresholds};
use meltemi_telemetry::BreakerStats;

/// One counted resource.
#[derive(Debug)]
pub(crate) struct Resource {
    limit: u32,
    used: AtomicU32,
}

/// The resources of one priority, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Resources {
    pub(crate) connections: Resource,
    pub(crate) pending: Resource,
    pub(crate) requests: Resource,
    pub(crate) retries: Resource,
}

/// The resources of a cluster.
#[derive(Debug)]
pub(crate) struct Breakers {
    default: Resources,
    high: Resources,
}

impl Breakers {
    pub(crate) fn new(limits: &CircuitBreakers) -> Self {
        let CircuitBreakers { default, high } = limits;
        Self {
            default: Resources::new(default),
            high: Resources::new(high),
        }
    }

    #[inline]
    pub(crate) fn of(&self, priority: Priority) -> &Resources {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }
}

impl Resources {
    /// Shows in statistics which limits are reached.
    pub(crate) fn show(&self, stats: &BreakerStats) {
        for (resource, gauge) in [
            (&self.connections, &stats.cx_open),
            (&self.pending, &stats.rq_pending_open),
            (&self.requests, &stats.rq_open),
            (&self.retries, &stats.rq_retry_open),
        ] {
            gauge.set(u64::from(!resource.has_room()));
        }
    }

    fn new(limits: &Thresholds) -> Self {
        let Thresholds {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
        } = *limits;
        Self {
            connections: Resource::new(max_connections),
            pending: Resource::new(max_pending_requests),
            requests: Resource::new(max_requests),
            retries: Resource::new(max_retries),
        }
    }
}

impl Resource {
    fn new(limit: u32) -> Self {
        Self {
            limit,
            used: AtomicU32::new(0),
        }
    }

    /// Whether there is room. As in Envoy, looking and taking are two steps, so that two
    /// workers at the same instant may pass the limit by one.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.limit == u32::MAX || self.used.load(Ordering::Relaxed) < self.limit
    }

    #[inline]
    pub(crate) fn take(&self) {
        if self.limit != u32::MAX {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn give_back(&self) {
        if self.limit != u32::MAX {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How much is in use; 0 where it is not counted.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}
