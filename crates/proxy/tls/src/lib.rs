//! TLS contexts whose certificates come from a secret store, and SPIFFE peer verification.
//!
//! Secrets enter through [`SecretStore`]; listeners accept with a [`ServerContext`] and
//! clusters connect with a [`ClientContext`]. Both rebuild their `rustls` configuration when
//! a secret they use has changed, at the next handshake; open connections keep theirs.

mod anchors;
mod certificate;
mod cipher;
mod client;
mod error;
mod failure;
mod key;
mod material;
mod san;
mod server;
mod session;
mod signed;
mod store;
mod tickets;
mod verifier;

pub use anchors::system_bundle;
pub use certificate::CertificateInfo;
pub use client::{Alpn, ClientContext, Wishes};
pub use error::TlsError;
pub use failure::{FailureKind, HandshakeFailure};
pub use material::check;
pub use server::ServerContext;
pub use session::SessionInfo;
pub use store::{CertificatesInUse, SecretStore, WantedSecret};

#[cfg(test)]
mod tests;
