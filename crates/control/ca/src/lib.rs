//! The certificate authority and its CSR service (FEATURES S1, S2).
//!
//! [`CertificateAuthority`] signs: requests and identities enter, chains leave; it knows its key and
//! the clock and nothing else. [`CaDirectory`] keeps its key in files, made on the first start or
//! put there by somebody. [`CsrService`] offers it over gRPC to callers whom an [`Authenticator`]
//! names: the certificate says who the caller is, whatever the request would like.
//!
//! This crate must not know what a proxy or a mesh resource is.

mod authenticator;
mod authority;
mod chain;
mod file;
mod metrics;
mod request;
mod service;
mod store;
mod token;

pub use authenticator::{
    AuthError, Authenticator, Authenticators, ClientCertificates, Credentials, PeerIdentities,
};
pub use authority::{CertificateAuthority, Issued, KeyedCertificate, SignError, Validity};
pub use chain::ChainError;
pub use metrics::CaMetrics;
pub use request::RequestError;
pub use service::CsrService;
pub use store::{CaDirectory, StoreError};
pub use token::{FileTokens, TokenIssuer, TokenKey};
