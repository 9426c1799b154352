//! HTTP/2 (RFC 9113) for both ends of a connection, on one thread.
//!
//! A [`server::Connection`] or [`client::Connection`] reads and writes frames when it is polled;
//! streams are used through [`SendStream`] and [`RecvStream`], which share its state. What a stream
//! sends is encoded at once into one buffer, which goes out when the connection is flushed, so
//! that the frames of a turn cost one system call. There are no locks and no channels.

pub mod client;
mod core;
mod driver;
mod error;
mod frame;
mod hpack;
mod message;
#[cfg(test)]
mod model;
mod receive;
mod send;
pub mod server;
mod share;
mod stream;

pub use error::{Error, Reason};
pub use message::Protocol;
pub use share::{PingPong, RecvStream, SendStream};
