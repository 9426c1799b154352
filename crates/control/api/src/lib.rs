//! Istio and Kubernetes resources as people write them.
//!
//! In: the text of a YAML (or JSON) file. Out: [`Document`]s, one for each resource, from which
//! typed specs are decoded; and [`Problem`]s that name file, line, resource and field path. Called
//! by `model`, the only crate that turns what is written into what is valid, and by `source`, which
//! reads the files.
//!
//! Nothing here judges a value: a weight of 150 is a number like any other. What is judged is the
//! form: unknown fields of Istio's specs, and values of the wrong type.

mod decode;
mod document;
mod fields;
mod path;
mod problem;
mod schema;
mod suggest;
mod tree;

#[cfg(test)]
mod tests;

pub mod authorization_policy;
pub mod destination_rule;
pub mod envoy_filter;
pub mod extension_provider;
pub mod gateway;
pub mod kubernetes;
pub mod mesh_config;
pub mod metadata;
pub mod peer_authentication;
pub mod proxy_config;
pub mod request_authentication;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod virtual_service;

pub use decode::{Decoded, Strictness};
pub use document::{Document, parse};
pub use fields::field_paths;
pub use path::{FieldPath, Segment};
pub use problem::{Problem, ProblemKind, ResourceLabel};
pub use schema::{Schema, schema_of};
pub use suggest::nearest;
pub use tree::{Entry, Node, Value};
