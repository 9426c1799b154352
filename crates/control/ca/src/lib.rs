//! The certificate authority and its CSR service (FEATURES S1, S2).
//!
//! [`CertificateAuthority`] signs: requests and identities enter, chains leave; it knows its key and
//! the clock and nothing else. [`Authorities`] knows which one signs and which are trusted, and leads
//! from one root to the next (`rotation`); [`CaDirectory`] keeps the keys in files, made on the first
//! start or put there by somebody. [`CsrService`] offers it over gRPC to callers whom an
//! [`Authenticator`] names: the certificate says who the caller is, whatever the request would like.
//!
//! This crate must not know what a proxy or a mesh resource is.

mod authenticator;
mod authorities;
mod authority;
mod chain;
mod file;
mod issuer;
mod kubernetes;
mod ledger;
mod limits;
mod metrics;
mod request;
mod rotation;
mod service;
mod store;
mod token;
mod used;

pub use authenticator::{
    AuthError, Authenticator, Authenticators, ClientCertificates, Credentials, PeerIdentities,
};
pub use authorities::{Authorities, AuthorityStatus, RotationError};
pub use authority::{
    CertificateAuthority, Issued, KeyedCertificate, RootInfo, SignError, Validity,
};
pub use chain::ChainError;
pub use issuer::{AUDIENCE, IssuerError, IssuerKeys, IssuerOptions, IssuerTokens};
pub use kubernetes::{KubernetesTokens, TokenReview, TokenReviewer};
pub use limits::Limits;
pub use metrics::CaMetrics;
pub use request::RequestError;
pub use rotation::{Confirmation, Outstanding, Phase, ProxyTrust, Standing};
pub use service::{CsrService, HOLDER_HEADER, NodeAuthorizer};
pub use store::{CaDirectory, Purpose, StoreError};
pub use token::{FileTokens, TokenIssuer, TokenKey};
