//! The connection manager between real sockets: scripted upstreams behind it, clients that see
//! every byte before it.
#![allow(clippy::unwrap_used)]

mod codec;
mod connections;
mod filters;
mod fixture;
mod http2;
mod idle_race;
mod manager;
mod more_filters;
mod replies;
mod retries;
mod tunnels;
