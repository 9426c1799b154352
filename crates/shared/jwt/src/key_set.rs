//! Key sets: those who may have signed a token.

use serde_json::Value;

use crate::json::object;
use crate::key::Key;
use crate::{Failure, Object, Token};

/// The keys of an issuer.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a JSON Web Key Set, or an object of certificates in PEM by key id. A key that is
    /// unusable is left out.
    ///
    /// # Errors
    /// When it is none, or no key is usable.
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        let set = object(text).ok_or(Failure::KeySetJson)?;
        let keys = match set.get("keys") {
            None => return Self::of_certificates(&set),
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err(Failure::BadKeys),
        };
        let keys = keys.iter().filter_map(Value::as_object);
        Self::of(keys.filter_map(Key::parse).collect())
    }

    /// Reads public keys and certificates in PEM, one after the other. Anything else in it is left out.
    ///
    /// # Errors
    /// When no key is usable.
    pub fn from_pem(text: &str) -> Result<Self, Failure> {
        let blocks = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes());
        Self::of(
            blocks
                .flatten()
                .filter_map(|it| Key::from_pem(&it))
                .collect(),
        )
    }

    fn of_certificates(set: &Object) -> Result<Self, Failure> {
        let certificates = set.iter().map(|(id, value)| match value {
            Value::String(pem) if !id.is_empty() && !pem.is_empty() => Some((id, pem)),
            _ => None,
        });
        let certificates: Option<Vec<_>> = certificates.collect();
        match certificates {
            Some(certificates) if !certificates.is_empty() => {
                let key = |(id, pem): (&String, &String)| Key::from_certificate(id, pem);
                Self::of(certificates.into_iter().filter_map(key).collect())
            }
            _ => Err(Failure::NoKeys),
        }
    }

    fn of(keys: Vec<Key>) -> Result<Self, Failure> {
        if keys.is_empty() {
            Err(Failure::NoValidKeys)
        } else {
            Ok(Self(keys))
        }
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true of a set that [`Self::parse`] made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys signed the token. A key with another `kid` or another `alg` than
    /// the token's is not tried.
    ///
    /// # Errors
    /// When none did.
    pub fn verify(&self, token: &Token) -> Result<(), Failure> {
        let mut tried = false;
        for key in &self.0 {
            let other =
                |ours: &str, theirs: &str| !ours.is_empty() && !theirs.is_empty() && ours != theirs;
            if other(&key.id, &token.key_id)
                || key.algorithm.is_some_and(|only| only != token.algorithm)
            {
                continue;
            }
            tried = true;
            if key.verify(token)? {
                return Ok(());
            }
        }
        Err(if tried {
            Failure::Verification
        } else {
            Failure::NoKeyMatches
        })
    }
}
