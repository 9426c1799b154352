//! Test support: what end-to-end, interop and benchmark code needs around the program under test.
//!
//! - [`Upstream`] is a scripted HTTP/1.1 and h2c server that records what it was asked.
//! - [`Client`], [`RawClient`] and [`Http2Client`] send requests and report all they saw.
//! - [`ManagementServer`] serves xDS, aggregated and type by type, and records what was said of it.
//! - [`ByteServer`] follows a script of bytes, for what is not HTTP; [`RedisServer`] keeps strings;
//!   [`Pki`] signs certificates, [`TokenSigner`] tokens.
//! - [`ApiServer`] is a Kubernetes API server for whoever lists and watches.
//! - [`Load`] keeps requests flowing while a test changes something, and counts what failed.
//! - [`Process`] runs a binary, keeps its output, waits on it and ends it.
//! - [`simulation`] sends a described call through generated listeners and routes, without sockets.
//! - [`envoy_binary`], [`skip`], [`free_port`], [`shared_data`] find what a test may lean on.
//!
//! `Upstream`, `Load` and `Process` run on threads of their own, so they serve a plain `#[test]`
//! and any kind of tokio test alike.

mod api_server;
mod byte_server;
mod client;
mod environment;
mod load;
mod management;
mod message;
mod pki;
mod process;
mod redis_server;
pub mod simulation;
mod token_signer;
mod upstream;
mod wire;

pub use api_server::ApiServer;
pub use byte_server::{Action, ByteServer, End, Transcript};
pub use client::{Client, ClientError, Http2Client, RawClient};
pub use environment::{envoy_binary, find_program, free_port, grpc_python, shared_data, skip};
pub use load::{Load, LoadReport};
pub use management::{ManagementServer, Said};
pub use message::{Headers, Request, Response};
pub use nix::sys::signal::Signal;
pub use pki::{Kind, Pki, Speaking};
pub use process::{Output, Process, ProcessError};
pub use redis_server::RedisServer;
pub use token_signer::TokenSigner;
pub use upstream::{Received, Reply, Upstream};
