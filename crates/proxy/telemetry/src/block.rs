//! Blocks of statistics that belong together, one for each cluster, listener and so on. Every
//! field is written once, in the macro; its name is Envoy's.

mod cluster;
mod filter;
mod http;
mod listener;
mod network;
mod redis;
mod server;
mod tcp;

pub use cluster::{
    Agreed, BreakerStats, CircuitBreakerStats, ClusterStats, EndpointDiscoveryStats,
    HealthCheckStats, MaglevStats, OutlierStats, RetryStats, RingHashStats, SslStats, TrafficStats,
    UpstreamProxyProtocolStats,
};
pub use filter::{
    ClusterExtAuthzStats, CompressorStats, CorsStats, DecompressorStats, DnsCacheStats,
    ExtAuthzStats, FaultStats, GrpcCodes, GrpcMethodStats, JwtAuthnStats, LocalRateLimitStats,
    RbacPolicyStats, RbacShadowStats, RbacStats,
};
pub use http::{HttpStats, ListenerHttpStats};
pub use listener::{ListenerManagerStats, ListenerStats};
pub use network::{
    ConnectionLimitStats, HttpInspectorStats, NetworkExtAuthzStats, NetworkRateLimitStats,
    ProxyProtocolStats, ProxyVersionStats, TlsInspectorStats,
};
pub use redis::{
    CommandBlocks, RedisClusterStats, RedisCommandStats, RedisStats, UpstreamCommandStats,
    UpstreamCommandsStats,
};
pub use server::{
    ClusterDiscoveryStats, ClusterManagerStats, ControlPlaneStats, ListenerDiscoveryStats,
    RouteDiscoveryStats, ServerStats, SubscriptionStats, UpdateOutcome,
};
pub use tcp::TcpStats;

use crate::StatRef;

/// A block of statistics, for whoever prints or resets them.
pub trait StatBlock: Send + Sync {
    /// Calls `visit` with the name and value of every statistic, in a fixed order.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, StatRef<'a>));
}

/// Declares a block: kind and field, and the statistic's name where it is no identifier.
macro_rules! stat_block {
    (
        $(#[$meta:meta])*
        $block:ident {
            $($kind:ty { $($field:ident $(= $name:literal)?),* $(,)? })*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $block {
            $($(
                #[doc = concat!("`", $crate::block::stat_name!($field $($name)?), "`")]
                pub $field: $kind,
            )*)*
        }

        impl $crate::StatBlock for $block {
            fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, $crate::StatRef<'a>)) {
                $($(
                    visit(
                        $crate::block::stat_name!($field $($name)?),
                        $crate::StatRef::from(&self.$field),
                    );
                )*)*
            }
        }

        impl<'a> From<&'a $block> for $crate::StatRef<'a> {
            fn from(block: &'a $block) -> Self {
                Self::Block(block)
            }
        }
    };
}

macro_rules! stat_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

use {stat_block, stat_name};
