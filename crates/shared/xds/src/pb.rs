//! The generated types: a module per protobuf package, such as [`envoy::config::cluster::v3`], with
//! the gRPC services' clients and servers beside the messages.
//!
//! Made by `build.rs` from `descriptors.binpb`. Google's well-known types (`Any`, `Duration`,
//! `Struct` and so on) are those of [`prost_types`].

#![allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::wildcard_imports
)]

include!(concat!(env!("OUT_DIR"), "/pb.rs"));
