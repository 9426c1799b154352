//! SPIFFE names and X.509 SVIDs as values, by the SPIFFE ID and X.509-SVID specifications.
//!
//! No I/O and no cryptography: chains are verified by the TLS library, and only then do
//! the names read here mean anything.

mod id;
mod svid;

pub use id::{IdError, SpiffeId, TrustDomain};
pub use svid::{CertificateNames, SvidError};
