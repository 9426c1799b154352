//! A whole mesh on this machine: what `meltemi up` runs.
//!
//! In: directories of the manifests that one would give to `kubectl apply`. Out: a control plane in
//! this process, and for each pod the processes of its proxy and its applications on loopback
//! addresses; reports of what happens, which the command line prints.
//!
//! A change goes: source → `platform` (which adds what a cluster would: addresses,
//! readiness, a gateway) → control plane; and from the platform to the pods that are to run → plans →
//! processes. What a resource means to a proxy is none of this crate's business.

mod addresses;
mod control_plane;
mod guard;
mod mesh;
mod platform;
mod pod;
mod process;
mod publish;
mod report;
mod runner;
mod settings;
mod startup;
mod state;

pub mod http;
pub mod sync;

pub use addresses::{Loopback, LoopbackError};
pub use control_plane::ControlPlaneError;
pub use guard::{GuardError, become_child};
pub use mesh::{Options, UpError, run};
pub use platform::AccessLogging;
pub use pod::{PodName, ProxyKind};
pub use publish::PublishError;
pub use report::{PodReport, Published, Report, Reporter};
pub use settings::SettingsError;
pub use state::{MeshState, PodState, StateError, default_state_dir};
