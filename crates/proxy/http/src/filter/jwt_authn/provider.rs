//! A provider at run time: its keys, the tokens that it is known to have given out, and what is
//! made of a good token.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use http::HeaderValue;
use meltemi_ir as ir;
use meltemi_jwt::{Failure, KeySet, Object, Token, at_path};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::Sharded;
use serde_json::Value;

use super::cache::{Good, TokenCache};
use super::keys::Keys;
use crate::head::RequestHead;

/// A provider.
pub(super) struct Provider {
    pub(super) config: ir::JwtProvider,
    pub(super) keys: Keys,
    cache: Sharded<Mutex<TokenCache>>,
}

impl Provider {
    pub(super) fn new(config: &ir::JwtProvider, workers: usize) -> Self {
        Self {
            keys: Keys::new(&config.keys),
            cache: Sharded::new(workers),
            config: config.clone(),
        }
    }

    fn cache<T>(&self, worker: WorkerId, with: impl FnOnce(&mut TokenCache) -> T) -> T {
        // Each worker has its own: nobody ever waits for this lock.
        let mut cache = self.cache.shard(worker).lock();
        with(cache.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut()))
    }

    /// What is known of a good token.
    pub(super) fn known(
        &self,
        text: &str,
        keys: Option<&Arc<KeySet>>,
        worker: WorkerId,
        seconds: u64,
    ) -> Option<Good> {
        self.config.cache?;
        self.cache(worker, |cache| {
            let good = cache.get(text, keys)?;
            if good.token.check_time(seconds, self.config.clock_skew) == Err(Failure::Expired) {
                cache.forget(text);
                return None;
            }
            Some(good)
        })
    }

    /// Remembers a good token.
    pub(super) fn remember(
        &self,
        text: &str,
        token: &Arc<Token>,
        payload: &Arc<ir::Value>,
        keys: &Arc<KeySet>,
        worker: WorkerId,
    ) {
        if let Some(limits) = self.config.cache {
            self.cache(worker, |cache| {
                cache.insert(limits, text, token, payload, keys);
            });
        }
    }

    /// Whether the claims are as this provider's must be; the audiences may be another's.
    pub(super) fn check(
        &self,
        token: &Token,
        audiences: Option<&[String]>,
        seconds: u64,
    ) -> Result<(), Failure> {
        let config = &self.config;
        if let Some(subjects) = &config.subjects
            && !subjects.matches(&token.subject)
        {
            return Err(Failure::Verification);
        }
        token.check_time(seconds, config.clock_skew)?;
        let most = match (config.max_lifetime, config.require_expiration) {
            (None, false) => None,
            (Some(most), _) => Some(most),
            (None, true) => Some(Duration::MAX),
        };
        if let Some(most) = most
            && (token.expiry == 0
                || Duration::from_secs(token.expiry.saturating_sub(seconds)) >= most)
        {
            return Err(Failure::Verification);
        }
        let allowed = audiences.unwrap_or(&config.audiences);
        let is_allowed = |audience: &String| {
            allowed
                .iter()
                .any(|known| audience_text(known) == audience_text(audience))
        };
        if !allowed.is_empty() && !token.audiences.iter().any(is_allowed) {
            return Err(Failure::AudienceNotAllowed);
        }
        Ok(())
    }

    /// Takes away what clients must not say themselves.
    pub(super) fn sanitize(&self, head: &mut RequestHead) {
        if let Some(name) = &self.config.forward_payload_header {
            head.headers.remove(name);
        }
        for (name, _) in &self.config.claim_to_headers {
            head.headers.remove(name);
        }
    }

    /// Writes a token's claims into headers.
    pub(super) fn forward(&self, token: &Token, head: &mut RequestHead) {
        let config = &self.config;
        if let Some(name) = &config.forward_payload_header {
            let mut text = token.payload_text.clone();
            if config.pad_forward_payload_header {
                let whole = text.trim_end_matches('=').len().next_multiple_of(4);
                while text.len() < whole {
                    text.push('=');
                }
            }
            if let Ok(value) = HeaderValue::from_str(&text) {
                head.headers.append(name.clone(), value);
            }
        }
        for (name, path) in &config.claim_to_headers {
            let claim = at_path(&token.payload, path.iter().map(String::as_str));
            let text = claim.and_then(claim_text).filter(|text| !text.is_empty());
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                head.headers.append(name.clone(), value);
            }
        }
    }

    /// The claims as metadata, with what is to be a list made one.
    pub(super) fn payload(&self, claims: &Object) -> ir::Value {
        let mut fields = fields(claims);
        for name in &self.config.space_delimited_claims {
            if let Some(value) = fields.get_mut(name)
                && let ir::Value::String(text) = &*value
            {
                let words = text.split(' ').filter(|word| !word.is_empty());
                let words = words.map(|word| ir::Value::String(word.to_owned()));
                *value = ir::Value::List(words.collect());
            }
        }
        ir::Value::Struct(fields)
    }
}

/// An audience without scheme and closing slash, as Envoy compares them.
fn audience_text(audience: &str) -> &str {
    let bare = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"))
        .unwrap_or(audience);
    bare.strip_suffix('/').unwrap_or(bare)
}

/// A claim as a header's value.
fn claim_text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => {
            let number = number.as_f64()?;
            Some(
                if number >= 0.0 && number < u64::MAX as f64 && number.fract() == 0.0 {
                    format!("{number:.0}")
                } else {
                    format!("{number:.6}")
                },
            )
        }
        Value::Array(_) | Value::Object(_) => {
            let text = serde_json::to_string(claim).ok()?;
            Some(base64::engine::general_purpose::STANDARD.encode(text))
        }
        Value::Null => None,
    }
}

/// An object as metadata.
pub(super) fn fields(object: &Object) -> std::collections::BTreeMap<String, ir::Value> {
    object
        .iter()
        .map(|(name, value)| (name.clone(), metadata(value)))
        .collect()
}

fn metadata(value: &Value) -> ir::Value {
    match value {
        Value::Null => ir::Value::Null,
        Value::Bool(value) => ir::Value::Bool(*value),
        Value::Number(number) => ir::Value::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => ir::Value::String(text.clone()),
        Value::Array(list) => ir::Value::List(list.iter().map(metadata).collect()),
        Value::Object(object) => ir::Value::Struct(fields(object)),
    }
}
