//! What runs beside a workload, or as a gateway: identity, bootstrap, and the proxy in
//! the same process.
//!
//! The agent makes a key, has the control plane's CA certify it, and puts both before the
//! proxy as the secrets `default` and `ROOTCA`; it renews them in time, and follows the mesh
//! from one root to the next. The same secrets
//! can be had over SDS on a Unix socket, so that a stock Envoy can stand in the proxy's
//! place. Of a workload that registers itself it finds out whether it is healthy. Nothing here touches a
//! request.

mod bootstrap;
mod chain;
mod health;
mod identity;
mod names;
mod options;
mod patches;
mod run;
mod sds;
mod statistics;
mod stream;
mod trust;

pub use bootstrap::bootstrap;
pub use health::{Probe, ProbeMethod};
pub use identity::{
    CertificateClient, ControlPlaneRoots, Identity, IdentityError, Renewal, WorkloadKey,
    WorkloadKeyError,
};
pub use options::{Interception, Options, Role, StartSettings};
pub use run::run;
pub use sds::SdsServer;
