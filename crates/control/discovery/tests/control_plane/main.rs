//! The whole control plane in this process, on loopback ports, as its clients see it.

#![allow(clippy::unwrap_used, missing_docs)]

mod admission;
mod agent;
mod client;
mod debug;
mod harness;
mod keys;
mod kubernetes;
mod push;
mod registration;
mod rotation;
mod single;
mod tls;
mod webhook;
