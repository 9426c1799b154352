//! Endpoints as the data plane sees them: identity, address, health, load.

use std::sync::Arc;

use meltemi_ir as ir;

/// Whether a host gets traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHealth {
    /// It does.
    Healthy,
    /// Only where no healthy one is.
    Degraded,
    /// Only in panic.
    Unhealthy,
}

/// An endpoint. The same value lives on while updates keep the endpoint, so that its pools
/// and counters do.
#[derive(Debug)]
pub struct Host {
    address: ir::Address,
}

impl Host {
    /// A number that no other host of this process has or had.
    pub fn id(&self) -> u64 {
        unimplemented!()
    }
    /// Where it is reached.
    pub fn address(&self) -> &ir::Address {
        &self.address
    }
    /// Its host name, for `auto_host_rewrite`; empty where unknown.
    pub fn hostname(&self) -> &str {
        unimplemented!()
    }
    /// Such as `istio` workload names.
    pub fn metadata(&self) -> Arc<ir::Metadata> {
        unimplemented!()
    }
    /// Where it is.
    pub fn locality(&self) -> &ir::Locality {
        unimplemented!()
    }
    /// Requests and TCP connections in flight, over all workers.
    pub fn active_requests(&self) -> u32 {
        unimplemented!()
    }
    /// Whether it gets traffic.
    pub fn health(&self) -> HostHealth {
        unimplemented!()
    }
    /// Whether connections to it are TLS.
    pub fn is_tls(&self) -> bool {
        unimplemented!()
    }
}

/// The hosts of a cluster at one time.
#[derive(Debug, Default)]
pub struct HostSet {
    /// By priority, 0 first; a gap in the priorities is an empty set.
    pub priorities: Vec<PriorityHosts>,
}

/// The hosts of one priority.
#[derive(Debug, Default)]
pub struct PriorityHosts {
    /// All of them.
    pub hosts: Vec<Arc<Host>>,
}
