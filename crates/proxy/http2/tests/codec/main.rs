//! The codec against another implementation of HTTP/2 (h2), and against frames made by hand.

#![allow(clippy::unwrap_used)]

mod bodies;
mod ends;
mod fixture;
mod frames;
mod hostile_client;
mod hostile_server;
mod malformed;
mod tunnels;
