//! What peers signed their handshakes with. The TLS library tells that to the verifier alone, which
//! all handshakes of a context share; so it is remembered by the certificate, whose key signs alike
//! each time. For statistics only.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use rustls::SignatureScheme;

/// No more certificates than this are remembered.
const MOST: usize = 1024;

/// The schemes by certificate.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    hasher: RandomState,
    schemes: Mutex<HashMap<u64, SignatureScheme>>,
}

impl Signed {
    /// Remembers what a peer with this certificate signed with.
    pub(crate) fn remember(&self, certificate: &[u8], scheme: SignatureScheme) {
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        if schemes.len() >= MOST {
            schemes.clear();
        }
        schemes.insert(self.hasher.hash_one(certificate), scheme);
    }

    /// What it signed with.
    pub(crate) fn with(&self, certificate: &[u8]) -> Option<SignatureScheme> {
        let schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        schemes.get(&self.hasher.hash_one(certificate)).copied()
    }
}
