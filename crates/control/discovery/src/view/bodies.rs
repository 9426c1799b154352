//! Encoded messages by content, so that equal ones are kept once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use meltemi_translate::EncodedResource;
use meltemi_xds_server::Resource;
use prost_types::Any;

use super::lock;

/// Encoded messages by the hash of their content, for as long as somebody holds them.
#[derive(Default)]
pub(crate) struct Bodies {
    by_hash: Mutex<HashMap<u64, Weak<Any>>>,
}

impl Bodies {
    /// The resource as sessions take it, with the bytes that are already there if they are equal.
    pub fn share(&self, encoded: EncodedResource) -> Resource {
        let EncodedResource {
            name,
            any,
            hash,
            needs_endpoints,
        } = encoded;
        let mut by_hash = lock(&self.by_hash);
        let known = by_hash.get(&hash).and_then(Weak::upgrade);
        let body = match known {
            Some(known) if *known == *any => known,
            Some(_) | None => {
                by_hash.insert(hash, Arc::downgrade(&any));
                any
            }
        };
        Resource {
            name: name.as_ref().to_owned(),
            version: format!("{hash:016x}"),
            body,
            needs_endpoints,
        }
    }

    /// Forgets what nobody holds any more.
    pub fn tidy(&self) {
        lock(&self.by_hash).retain(|_, body| body.strong_count() > 0);
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        lock(&self.by_hash).len()
    }
}
