//! The HTTP connection manager: codec, routing, filters, retries, responses.
//!
//! The listener calls [`serve`] with a byte stream and a slot that holds the filter chain's
//! [`ConnectionManager`]; every request looks at the slot, so that a change of configuration
//! takes effect at the next request and cuts nothing. Route tables come through
//! [`RouteTables`]. What a worker's connections share is in its [`WorkerContext`].

mod body;
mod call;
mod client_body;
mod connection;
mod deadline;
mod exchange;
mod filter;
mod head;
mod headers;
mod local_reply;
mod log_service;
mod manager;
mod mutation;
mod path;
mod progress;
mod request_body;
mod route;
mod router;
mod server;
mod size;
mod stream;
mod timer;
mod tunnel;
mod upgrade;
mod wire;
mod worker;

pub use body::{BrokenOff, ProxyBody};
pub use connection::ConnectionContext;
pub use filter::ext_authz::connection::{ConnectionAuthorizer, ConnectionVerdict};
pub use local_reply::LocalReplyError;
pub use log_service::{deliver_last_logs, deliver_logs};
pub use manager::{ConnectionManager, HttpShared, ManagerError};
pub use mutation::{Mutation, MutationError};
pub use path::{NormalPath, normalize};
pub use route::{
    HostError, RequestView, RouteError, RouteIndex, RouteMatch, RouteSlot, RouteTable, RouteTables,
    WantedHosts,
};
pub use server::serve;
pub use tunnel::{Tunnel, TunnelFailure, TunnelStream, Tunneling};
pub use worker::{Identity, WorkerContext, WorkerParts};
