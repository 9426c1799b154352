//! Test support: what end-to-end, interop and benchmark code needs around the program under test.
//!
//! - [`Upstream`] is a scripted HTTP/1.1 and h2c server that records what it was asked.
//! - [`Client`], [`RawClient`] and [`Http2Client`] send requests and report all they saw.
//! - [`Load`] keeps requests flowing while a test changes something, and counts what failed.
//! - [`Process`] runs a binary, keeps its output, waits on it and ends it.
//! - [`envoy_binary`], [`skip`], [`free_port`], [`shared_data`] find what a test may lean on.
//!
//! `Upstream`, `Load` and `Process` run on threads of their own, so they serve a plain `#[test]`
//! and any kind of tokio test alike.

mod client;
mod environment;
mod load;
mod message;
mod process;
mod upstream;
mod wire;

pub use client::{Client, ClientError, Http2Client, RawClient};
pub use environment::{envoy_binary, find_program, free_port, shared_data, skip};
pub use load::{Load, LoadReport};
pub use message::{Headers, Request, Response};
pub use nix::sys::signal::Signal;
pub use process::{Output, Process, ProcessError};
pub use upstream::{Received, Reply, Upstream};
