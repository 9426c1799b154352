//! JWTs of configured issuers, such as a Kubernetes cluster's own.
//!
//! In: a bearer token. Out: the service account that its `sub` names, once the issuer's key, the
//! audience and the times are as they must be. Keys in a file are read again when the file changes;
//! those at an address somebody else fetches and brings here, and until that a token is neither
//! believed nor refused.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use meltemi_jwt::{Algorithm, Failure, KeySet, Token, at_path};
use meltemi_lifecycle::Clock;
use meltemi_spiffe::{SpiffeId, TrustDomain};
use tracing::warn;

use crate::authenticator::service_account;
use crate::file::{self, FileError};
use crate::{AuthError, Authenticator, Credentials};

/// How much clocks may differ, in seconds.
const SKEW: u64 = 60;

/// The audience of tokens for this authority; Istio's.
pub const AUDIENCE: &str = "istio-ca";

/// An issuer whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerOptions {
    /// `iss`, as it stands in the tokens.
    pub issuer: String,
    /// `aud` must be one of these.
    pub audiences: Vec<String>,
    /// Where its public keys are.
    pub keys: IssuerKeys,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// In a file: a JSON Web Key Set, or public keys or certificates in PEM.
    File(PathBuf),
    /// Here: a JSON Web Key Set.
    Inline(String),
    /// At this address: a JSON Web Key Set.
    Uri(String),
    /// Where the issuer's OpenID configuration says, whose address this is.
    Discovery(String),
}

/// Why an issuer's tokens cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no file.
    #[error("{}: missing", .0.display())]
    Missing(PathBuf),
    /// There are no keys in it.
    #[error("{place}: {reason}")]
    Keys {
        /// The file, or `jwks`.
        place: String,
        /// What is wrong.
        reason: Failure,
    },
}

/// Believes the tokens of an issuer.
pub struct IssuerTokens {
    options: IssuerOptions,
    trust_domain: TrustDomain,
    clock: Clock,
    keys: Mutex<Keys>,
}

struct Keys {
    /// None until somebody has brought them.
    set: Option<Arc<KeySet>>,
    modified: Option<SystemTime>,
}

impl IssuerTokens {
    /// Reads the issuer's keys, unless they are elsewhere.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(
        options: IssuerOptions,
        trust_domain: TrustDomain,
        clock: Clock,
    ) -> Result<Self, IssuerError> {
        let keys = Keys {
            modified: modified(&options),
            set: read(&options)?.map(Arc::new),
        };
        Ok(Self {
            options,
            trust_domain,
            clock,
            keys: Mutex::new(keys),
        })
    }

    /// Whose tokens they are.
    pub fn issuer(&self) -> &str {
        &self.options.issuer
    }

    /// Where the keys are.
    pub fn source(&self) -> &IssuerKeys {
        &self.options.keys
    }

    /// Takes a JSON Web Key Set that was fetched.
    ///
    /// # Errors
    /// When there is no key in it; those of before hold on.
    pub fn bring(&self, key_set: &str) -> Result<(), Failure> {
        let set = KeySet::parse(key_set.as_bytes())?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.set = Some(Arc::new(set));
        Ok(())
    }

    /// The keys, read anew if the file has changed; those of before hold on if it is no good. None while
    /// they have not been brought.
    fn keys(&self) -> Option<Arc<KeySet>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let now = modified(&self.options);
        if now != keys.modified {
            keys.modified = now;
            match read(&self.options) {
                Ok(set) => keys.set = set.map(Arc::new),
                Err(error) => warn!("the keys of {} stay: {error}", self.options.issuer),
            }
        }
        keys.set.clone()
    }

    fn check(&self, text: &str) -> Result<SpiffeId, AuthError> {
        if text.split('.').count() != 3 || text.starts_with("meltemi-token-") {
            return Err(AuthError::Unknown);
        }
        let refused = |failure: Failure| AuthError::Token(failure.to_string());
        let token = Token::parse(text).map_err(refused)?;
        if token.issuer != self.options.issuer {
            return Err(AuthError::Unknown);
        }
        // A secret that both sides have proves nothing about who made the token.
        if is_shared(token.algorithm) {
            return Err(refused(Failure::UnknownAlgorithm));
        }
        let keys = self.keys().ok_or_else(|| {
            AuthError::Unavailable(format!("the keys of {} are not here yet", token.issuer))
        })?;
        keys.verify(&token).map_err(refused)?;
        if token.expiry == 0 {
            return Err(AuthError::Token("it has no exp".to_owned()));
        }
        let now = self.clock.since_epoch().as_secs();
        token.check_time(now, SKEW).map_err(refused)?;
        let mut audiences = token.audiences.iter();
        if !audiences.any(|it| self.options.audiences.contains(it)) {
            return Err(refused(Failure::AudienceNotAllowed));
        }
        let id = service_account(&token.subject, &self.trust_domain)?;
        // What Kubernetes says beside the subject must not contradict it.
        let claim = |path: &[&'static str]| {
            let found = at_path(&token.payload, path.iter().copied());
            found.and_then(serde_json::Value::as_str)
        };
        let claimed = (
            claim(&["kubernetes.io", "namespace"]),
            claim(&["kubernetes.io", "serviceaccount", "name"]),
        );
        let (namespace, account) = id.namespace_and_account().unwrap_or_default();
        if claimed.0.is_some_and(|it| it != namespace) || claimed.1.is_some_and(|it| it != account)
        {
            return Err(AuthError::Token(
                "kubernetes.io and sub name different accounts".to_owned(),
            ));
        }
        Ok(id)
    }
}

#[tonic::async_trait]
impl Authenticator for IssuerTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError> {
        self.check(credentials.token.ok_or(AuthError::Missing)?)
    }
}

fn is_shared(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512
    )
}

fn modified(options: &IssuerOptions) -> Option<SystemTime> {
    match &options.keys {
        IssuerKeys::File(path) => std::fs::metadata(path).ok()?.modified().ok(),
        IssuerKeys::Inline(_) | IssuerKeys::Uri(_) | IssuerKeys::Discovery(_) => None,
    }
}

fn read(options: &IssuerOptions) -> Result<Option<KeySet>, IssuerError> {
    let (place, set) = match &options.keys {
        IssuerKeys::File(path) => {
            let text = file::read(path)?.ok_or_else(|| IssuerError::Missing(path.clone()))?;
            let set = match text.trim_start().starts_with('{') {
                true => KeySet::parse(text.as_bytes()),
                false => KeySet::from_pem(&text),
            };
            (path.display().to_string(), set)
        }
        IssuerKeys::Inline(text) => ("jwks".to_owned(), KeySet::parse(text.as_bytes())),
        IssuerKeys::Uri(_) | IssuerKeys::Discovery(_) => return Ok(None),
    };
    set.map(Some)
        .map_err(|reason| IssuerError::Keys { place, reason })
}

#[cfg(test)]
mod tests;
