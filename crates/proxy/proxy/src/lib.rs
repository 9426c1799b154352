//! The data plane, assembled: a bootstrap goes in, workers serve, xDS changes what they
//! serve, the administration endpoint shows it.
//!
//! [`run`] is the whole of a bare proxy. The agent runs it in its own process, with the
//! workload's secrets already in the store.

mod apply;
mod assembly;
mod bootstrap;
mod checks;
mod control;
mod dial;
mod discovery;
mod extensions;
mod file_sources;
mod host_services;
mod hot_restart;
mod secret_files;
mod service_sources;
mod subscription_stats;
mod subscriptions;
mod worker;

pub use assembly::{Options, run};
pub use bootstrap::Bootstrap;
pub use dial::dial;
pub use hot_restart::HotRestart;
pub use meltemi_admin::{LogControl, LogLevel};
pub use meltemi_listener::DrainPlan;
