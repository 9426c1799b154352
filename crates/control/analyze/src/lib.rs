//! What is questionable about a set of resources.
//!
//! In: documents as written. Out: [`Message`]s with the codes, levels and wording by which Istio's
//! users know them (`istioctl analyze`, IST0101 and so on), each with the line that it is about.
//! Called by `meltemi analyze`.
//!
//! Each analyzer is a file and looks at one thing. This crate knows no network, no Kubernetes client
//! and no clock.

mod analyzer;
mod analyzers;
mod code;
mod context;
mod message;
mod schema;

pub use analyzer::{Analyzer, analyze, analyzers};
pub use code::{Code, Level};
pub use message::{Message, Suppression};
