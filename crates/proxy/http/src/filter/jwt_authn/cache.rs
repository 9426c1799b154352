//! Tokens that were found good, of which the least recently used goes first.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_jwt::{KeySet, Token};

/// A good token.
#[derive(Clone)]
pub(super) struct Good {
    pub(super) token: Arc<Token>,
    /// The claims as metadata, normalized.
    pub(super) payload: Arc<ir::Value>,
    /// The keys that verified it; with others it is no longer good.
    keys: Arc<KeySet>,
    used: u64,
}

/// One worker's good tokens.
#[derive(Default)]
pub(super) struct TokenCache {
    known: HashMap<Box<str>, Good>,
    clock: u64,
}

impl TokenCache {
    /// The token, if it is known to be good under these keys.
    pub(super) fn get(&mut self, text: &str, keys: Option<&Arc<KeySet>>) -> Option<Good> {
        let known = self.known.get_mut(text)?;
        if !keys.is_some_and(|keys| Arc::ptr_eq(keys, &known.keys)) {
            self.known.remove(text);
            return None;
        }
        self.clock += 1;
        known.used = self.clock;
        Some(known.clone())
    }

    pub(super) fn forget(&mut self, text: &str) {
        self.known.remove(text);
    }

    pub(super) fn insert(
        &mut self,
        limits: ir::JwtCache,
        text: &str,
        token: &Arc<Token>,
        payload: &Arc<ir::Value>,
        keys: &Arc<KeySet>,
    ) {
        if text.len() > limits.max_token_bytes {
            return;
        }
        if self.known.len() >= limits.size {
            // A sixteenth goes at once, so that looking for the oldest is rarely done.
            let mut ages: Vec<u64> = self.known.values().map(|good| good.used).collect();
            ages.sort_unstable();
            let oldest = ages.get(ages.len() / 16).copied().unwrap_or(u64::MAX);
            self.known.retain(|_, good| good.used > oldest);
        }
        self.clock += 1;
        let good = Good {
            token: token.clone(),
            payload: payload.clone(),
            keys: keys.clone(),
            used: self.clock,
        };
        self.known.insert(text.into(), good);
    }
}
