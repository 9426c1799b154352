//! The control plane, assembled.
//!
//! In: [`Options`]: directories of resources, a cluster's API server, addresses, the authority's directory. Out: a running
//! [`ControlPlane`]: xDS and certificates over gRPC, state and figures over HTTP. Called by
//! `meltemi discovery` and `meltemi up`.
//!
//! A change goes: source → `layers` → snapshot → debounce → view → sessions. What a resource means
//! is decided in `translate`, what is sent and when in `xds-server`; here they are only put together.

mod admission;
mod control_plane;
mod debug;
mod error;
mod exposition;
mod grpc;
mod http;
mod keys;
mod layers;
mod localities;
mod mesh;
mod mesh_file;
mod metrics;
mod options;
mod overlay;
mod problem;
mod process;
mod registration;
mod review;
mod selection;
mod trust;
mod view;
mod webhook;

pub use control_plane::{Addresses, ControlPlane, run};
pub use error::DiscoveryError;
pub use layers::Resources;
pub use meltemi_ca::{AUDIENCE, IssuerKeys, IssuerOptions, Validity};
pub use meltemi_kubernetes::{Access, AccessError};
pub use meltemi_translate::judge;
pub use mesh::MeshState;
pub use options::Options;
pub use overlay::Overlay;
