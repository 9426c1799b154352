//! Listeners: from a socket to the filter that serves the connection.
//!
//! [`ListenerManager`] takes validated listeners on the main thread and hands sockets to
//! the workers; [`serve_worker`] accepts on one worker. A listener's settings live behind
//! an atomically swapped handle, so that a change takes effect at the next connection,
//! and for HTTP at the next request, and closes nothing.

mod accept;
mod active;
mod authorization;
mod connection;
mod gate;
mod held;
mod looks;
mod manager;
mod matcher;
mod runtime;
mod sniff;
mod tcp;

pub use accept::{Accept, serve_worker};
pub use active::{ActiveListener, ListenerStatus};
pub use manager::{DrainPlan, ListenerError, ListenerManager};
pub use matcher::{ConnectionView, choose_chain};
pub use runtime::{ListenerShared, WantedRoutes, wanted_routes};
