//! The xDS client: what to ask for, what has arrived, what was refused.
//!
//! [`Session`] is the protocol as a state machine without I/O, in delta and in
//! state-of-the-world form; [`client`] runs it over a gRPC stream and reconnects. The
//! proxy assembly converts and applies what arrives and says what it refused.

pub mod client;
mod outbox;
mod resource_type;
mod session;

pub use client::{Client, ClientConfig, Connector, Event, Io, Service, StreamMetadata};
pub use outbox::Rate;
pub use resource_type::ResourceType;
pub use session::{Interest, Mode, Outgoing, Received, Rejection, Session, Update};
