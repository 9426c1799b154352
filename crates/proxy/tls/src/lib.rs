//! TLS contexts whose certificates come from a secret store, and SPIFFE peer verification.
//!
//! Secrets enter through [`SecretStore`]; listeners take a `rustls` configuration from a
//! [`ServerContext`] and clusters one from a [`ClientContext`] for each new handshake.

mod client;
mod error;
mod peer;
mod server;
mod store;

pub use client::ClientContext;
pub use error::TlsError;
pub use peer::{PeerCertificate, peer_certificate};
pub use server::ServerContext;
pub use store::SecretStore;
