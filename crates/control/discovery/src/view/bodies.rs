//! Encoded messages by content, so that equal ones are kept once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use meltemi_translate::EncodedResource;
use meltemi_xds_server::{Resource, Version};
use prost_types::Any;

use super::lock;

/// How many more messages there may be before it is worth looking for unused ones.
const SPARE: usize = 1024;

/// Encoded messages by the hash of their content, for as long as somebody holds them.
#[derive(Default)]
pub(crate) struct Bodies {
    by_hash: Mutex<HashMap<u64, Weak<Any>>>,
    /// How many there may be before those are looked for that nobody holds.
    limit: AtomicUsize,
}

impl Bodies {
    /// The resource as sessions take it, with the bytes that are already there if they are equal.
    pub fn share(&self, encoded: EncodedResource) -> Resource {
        let EncodedResource {
            name,
            any,
            hash,
            needs_endpoints,
            of_workload: _, // ignored: kept beside the resource
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
            name,
            version: Version::of_hash(hash),
            body,
            needs_endpoints,
        }
    }

    /// Forgets what nobody holds any more, when there may be much of it.
    pub fn tidy(&self) {
        let mut by_hash = lock(&self.by_hash);
        if by_hash.len() >= self.limit.load(Ordering::Relaxed) {
            by_hash.retain(|_, body| body.strong_count() > 0);
            self.limit
                .store(2 * by_hash.len() + SPARE, Ordering::Relaxed);
        }
    }
}
