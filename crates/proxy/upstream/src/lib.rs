//! Clusters: their endpoints, load balancing, circuit breakers and connection pools.
//!
//! Configuration enters through [`ClusterManager`], which is shared by all threads. Each
//! worker has one [`Pools`]; a request takes its cluster from there, chooses a host, leases
//! a connection and sends:
//!
//! ```text
//! let cluster = pools.cluster("outbound|80||web")?;        // Rc<WorkerCluster>
//! let host = cluster.choose(&LbContext::default())?;       // Rc<WorkerHost>
//! let lease = cluster.http(&host, options).await?;
//! let response = lease.send(request).await?;               // Response<ResponseBody>
//! ```
//!
//! Nothing on that path takes a lock; what workers share are atomics and swapped `Arc`s.

mod binding;
mod body;
mod breaker;
mod cluster;
mod connect;
mod dns;
mod dns_cache;
mod endpoints;
mod failure;
mod health_check;
mod host;
mod http1;
mod lb;
mod manager;
mod outlier;
mod pool;
mod stream;
mod transport;
mod upgrade;
mod worker;

pub use binding::socket_option;
pub use body::{BodyError, ResponseBody, UpstreamBody};
pub use cluster::{Cluster, ClusterSnapshot, HostSnapshot};
pub use dns_cache::{Demand, PendingName};
pub use failure::{Breaker, ConnectFailure, ResetReason, SendFailure};
pub use host::{
    HealthFlags, Host, HostAttributes, HostEntry, HostHealth, HostSet, HostStats, PriorityHosts,
};
pub use lb::hash::{MURMUR_SEED, murmur_hash2, xx_hash};
pub use manager::{ClusterError, ClusterManager, UpstreamContext};
pub use outlier::Outcome;
pub use pool::{Called, HttpLease, HttpOptions, HttpVersion};
pub use stream::{ConnectionDetails, UpstreamStream, agreed, tls_info};
pub use transport::Proxied;
pub use upgrade::{Http2Bytes, UpgradedStream, upgrade};
pub use worker::{LbContext, Pools, RetryGuard, WorkerCluster, WorkerHost};

#[cfg(test)]
mod tests;
