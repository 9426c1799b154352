//! The proxy's administration endpoint, in Envoy's formats, so that `istioctl`, dashboards and
//! people find what they look for.
//!
//! The assembly fills an [`AdminState`] with handles and calls [`serve`] on the main runtime.
//! Requests only read what the data plane shares; the few that change something go through
//! [`ServerControl`] and [`LogControl`].

mod certs;
mod clusters;
mod command;
mod config_dump;
mod config_store;
mod init_dump;
mod listeners;
mod log_control;
mod logging;
mod mask;
mod query;
mod reply;
mod server;
mod server_info;
mod state;
mod stats;

pub use config_store::{ActiveConfig, ConfigEntry, ConfigKind, ConfigStore, UpdateFailure};
pub use log_control::{LogControl, LogLevel};
pub use server::{router, serve};
pub use state::{
    AdminState, BoundListener, DrainRequest, ServerControl, ServerInfo, ServerPhase, ServerStatus,
    UnreadyListener,
};
