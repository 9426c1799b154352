//! HTTP/2 (RFC 9113) for both ends of a connection, on one thread.
//!
//! A [`server::Connection`] or [`client::Connection`] reads and writes frames when it is polled;
//! streams are used through [`SendStream`] and [`RecvStream`], which share its state. What a stream
//! sends is encoded at once into one buffer, which goes out when the connection is flushed, so
//! that the frames of a turn cost one system call. There are no locks and no channels.

pub mod client;
mod error;
mod hpack;
mod message;
pub mod server;
mod share;

pub use error::{Error, Reason};
pub use message::Protocol;
pub use share::{PingPong, RecvStream, SendStream};
