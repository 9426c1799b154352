//! Tokens that `meltemi up` and other local issuers give to workloads.
//!
//! In: namespace, service account, lifetime. Out: `meltemi-token-v1.<payload>.<mac>`, where the
//! payload is JSON `{ns, sa, iat, exp}` and the mac is HMAC-SHA256 under a key that lies in the
//! authority's directory; and back, [`FileTokens`] for the services. Once a workload has used a token,
//! those that were made well before it are worth nothing any more, so that one that was copied from an
//! old file or backup lets nobody in.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use meltemi_lifecycle::Clock;
use meltemi_spiffe::{IdError, SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};

use crate::used::UsedTokens;
use crate::{AuthError, Authenticator, Credentials, StoreError};

const PREFIX: &str = "meltemi-token-v1";

/// How much older than the newest that was used a token may be, in seconds: somebody may have read it
/// just before it was replaced.
const OVERLAP: u64 = 5 * 60;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    ns: String,
    sa: String,
    /// Seconds since the Unix epoch.
    iat: u64,
    /// The same.
    exp: u64,
}

/// The key that tokens are made and checked with.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey([redacted])")
    }
}

impl TokenKey {
    /// What a key file holds.
    pub(crate) fn random_text() -> String {
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the operating system has randomness");
        STANDARD.encode(bytes) + "\n"
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        (bytes.len() == 32).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

/// Makes tokens.
#[derive(Clone)]
pub struct TokenIssuer {
    key: TokenKey,
    trust_domain: TrustDomain,
    clock: Clock,
}

impl TokenIssuer {
    /// An issuer for workloads of this trust domain.
    pub fn new(key: TokenKey, trust_domain: TrustDomain, clock: Clock) -> Self {
        Self {
            key,
            trust_domain,
            clock,
        }
    }

    /// A token for a service account.
    ///
    /// # Errors
    /// When a name cannot stand in a SPIFFE ID.
    pub fn issue(
        &self,
        namespace: &str,
        account: &str,
        lifetime: Duration,
    ) -> Result<String, IdError> {
        SpiffeId::workload(&self.trust_domain, namespace, account)?;
        let claims = Claims {
            ns: namespace.to_owned(),
            sa: account.to_owned(),
            iat: self.clock.since_epoch().as_secs(),
            exp: (self.clock.since_epoch() + lifetime).as_secs(),
        };
        let payload = serde_json::to_vec(&claims).expect("text and numbers are JSON");
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let mac = hmac::sign(&self.key.0, signed(&payload).as_bytes());
        let mac = URL_SAFE_NO_PAD.encode(mac);
        Ok(format!("{PREFIX}.{payload}.{mac}"))
    }
}

/// Believes the tokens of a [`TokenIssuer`] with the same key.
#[derive(Clone)]
pub struct FileTokens {
    key: TokenKey,
    trust_domain: TrustDomain,
    clock: Clock,
    /// When the newest token was made that a workload has used.
    used: Arc<Mutex<UsedTokens>>,
}

impl FileTokens {
    /// Checks with this key.
    pub fn new(key: TokenKey, trust_domain: TrustDomain, clock: Clock) -> Self {
        Self {
            key,
            trust_domain,
            clock,
            used: Arc::default(),
        }
    }

    /// The same, but what has been used is remembered in this file, across restarts.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn remembering(self, path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            used: Arc::new(Mutex::new(UsedTokens::open(path)?)),
            ..self
        })
    }

    fn check(&self, token: &str) -> Result<SpiffeId, AuthError> {
        let malformed = |reason: &str| AuthError::Malformed(reason.to_owned());
        if !token.starts_with("meltemi-token-") {
            return Err(AuthError::Unknown);
        }
        let parts: Vec<_> = token.split('.').collect();
        let &[PREFIX, payload, mac] = parts.as_slice() else {
            return Err(malformed("not of the form meltemi-token-v1.PAYLOAD.MAC"));
        };
        let mac = URL_SAFE_NO_PAD
            .decode(mac)
            .map_err(|_| malformed("its third part is not base64"))?;
        hmac::verify(&self.key.0, signed(payload).as_bytes(), &mac)
            .map_err(|_| AuthError::Forged)?;
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_| malformed("its second part is not base64"))?;
        let claims: Claims = serde_json::from_slice(&payload)
            .map_err(|error| AuthError::Malformed(error.to_string()))?;
        let now = self.clock.since_epoch().as_secs();
        if claims.exp <= now {
            return Err(AuthError::Expired(now - claims.exp));
        }
        let id = SpiffeId::workload(&self.trust_domain, &claims.ns, &claims.sa)
            .map_err(|error| AuthError::Malformed(error.to_string()))?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = used.newest(&id);
        if claims.iat.saturating_add(OVERLAP) < newest {
            return Err(AuthError::Superseded);
        }
        if claims.iat > newest {
            let noted = used.note(&id, claims.iat);
            noted.map_err(|error| AuthError::Unavailable(error.to_string()))?;
        }
        Ok(id)
    }
}

#[tonic::async_trait]
impl Authenticator for FileTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError> {
        self.check(credentials.token.ok_or(AuthError::Missing)?)
    }
}

/// What the mac covers: the version too, so that no later form can be passed off as this one.
fn signed(payload: &str) -> String {
    format!("{PREFIX}.{payload}")
}

#[cfg(test)]
mod tests;
