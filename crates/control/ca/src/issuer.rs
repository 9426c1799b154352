//! JWTs of configured issuers, such as a Kubernetes cluster's own.
//!
//! In: a bearer token. Out: the service account that its `sub` names, once the issuer's key, the
//! audience and the times are as they must be. Whose key is in a file is read again when the file
//! changes.

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
    /// Its public keys: a JSON Web Key Set, or public keys or certificates in PEM.
    pub keys: PathBuf,
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
    /// The file holds no keys.
    #[error("{}: {reason}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
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
    set: Arc<KeySet>,
    modified: Option<SystemTime>,
}

impl IssuerTokens {
    /// Reads the issuer's keys.
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
            set: Arc::new(read(&options)?),
        };
        Ok(Self {
            options,
            trust_domain,
            clock,
            keys: Mutex::new(keys),
        })
    }

    /// The keys, read anew if the file has changed; those of before hold on if it is no good.
    fn keys(&self) -> Arc<KeySet> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let now = modified(&self.options);
        if now != keys.modified {
            keys.modified = now;
            match read(&self.options) {
                Ok(set) => keys.set = Arc::new(set),
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
        self.keys().verify(&token).map_err(refused)?;
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
    std::fs::metadata(&options.keys).ok()?.modified().ok()
}

fn read(options: &IssuerOptions) -> Result<KeySet, IssuerError> {
    let path = &options.keys;
    let text = file::read(path)?.ok_or_else(|| IssuerError::Missing(path.clone()))?;
    let set = match text.trim_start().starts_with('{') {
        true => KeySet::parse(text.as_bytes()),
        false => KeySet::from_pem(&text),
    };
    set.map_err(|reason| IssuerError::Keys {
        path: path.clone(),
        reason,
    })
}

#[cfg(test)]
mod tests;
