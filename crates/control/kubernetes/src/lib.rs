//! Resources from a Kubernetes API server, as a stream of events.
//!
//! In: an API server ([`Access`]). Out: [`Event`](meltemi_source::Event)s over a channel ([`watch()`]), the
//! same that directories give, and what the server says of tokens ([`Client::review`]).
//!
//! Objects become documents that are called like files, `kubernetes/NAMESPACE/KIND/NAME`, and go through
//! [`FileState`](meltemi_source::FileState), so that bad input loses nothing here either. `course` decides
//! what to ask for one kind and what the answers say, `cluster` what that makes of the whole; neither
//! knows a client or a clock. `watch` asks.
//!
//! The client is of the HTTP and TLS libraries that are there anyway: what a control plane asks of an API
//! server are lists, watches and reviews of tokens, and the objects are read by `model` as from files.

mod access;
mod client;
mod cluster;
mod connection;
mod course;
mod kind;
mod kubeconfig;
mod object;
mod plugin;
mod watch;

#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use client::{Client, ClientError, Review, ReviewedUser};
pub use plugin::PluginError;
pub use watch::watch;
