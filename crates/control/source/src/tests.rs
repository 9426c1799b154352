#![allow(clippy::unwrap_used)]

mod state;
mod watch;
