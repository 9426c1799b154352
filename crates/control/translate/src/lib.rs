//! Pure translation from a snapshot and a proxy to Envoy resources.
//!
//! In: `(&Snapshot, &ProxyNode)`. Out: encoded resources by name: all of a type at once for listeners
//! and clusters, by name for route tables, endpoints and secrets; [`translate`] makes everything that
//! a proxy needs. The same input gives the same bytes, and [`group_key`] says which proxies get the
//! same as others.
//!
//! Names and shapes are Istio's. No clock, no I/O, no lock, no log.

mod authz;
mod cluster;
mod dynamic_dns;
mod endpoint;
mod envoy_filter;
mod filter;
mod gateway;
mod group;
mod judge;
mod listener;
mod name;
mod name_table;
mod node;
mod part;
mod proto;
mod resource;
mod route;
mod scope;
mod secret;
mod tls;
mod translate;

pub use group::{GroupKey, group_key, have_same_group};
pub use judge::judge;
pub use node::{Generator, IstioFilters, Lacks, NodeError, OwnSettings, ProxyNode, ProxyRole};
pub use part::{Made, Part, Translator};
pub use resource::{EncodedResource, ResourceMap, Resources};
pub use scope::{Read, ReadClass, Topics};
pub use translate::{
    bootstrap, clusters, endpoints, extension_names, extensions, listener_names, listeners,
    name_table, route_names, routes, secret_names, secrets, translate,
};
