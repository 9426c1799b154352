//! Who a caller is.
//!
//! In: what a connection and a request bring along: a bearer token, the names of a verified client
//! certificate. Out: one SPIFFE ID, or why not. Every way of proving who one is implements
//! [`Authenticator`]: client certificates here, `token` for those of this program, `issuer` for JWTs of
//! configured issuers, `kubernetes` for whoever can review a token.

use std::fmt;
use std::sync::Arc;

use meltemi_spiffe::{SpiffeId, TrustDomain};

/// What a caller brings along to prove who it is.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The bearer token of the request.
    pub token: Option<&'a str>,
    /// URI names of the connection's client certificate, which has been verified.
    pub identities: &'a [String],
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.map(|_| "[redacted]"))
            .field("identities", &self.identities)
            .finish()
    }
}

/// URI names of the connection's verified client certificate, as a request extension: put there by
/// the listener for the CSR service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentities(pub Vec<String>);

/// Why a caller is not believed. The text is meant for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is nothing of the sort that is looked for.
    #[error("no credentials: send a bearer token, or use a client certificate of this mesh")]
    Missing,
    /// The token is not of the form.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// The token is of a kind that nobody here can judge.
    #[error("the token is of no kind that is known here")]
    Unknown,
    /// The token was not made by this mesh.
    #[error("the token was not issued by this mesh")]
    Forged,
    /// The token was good once.
    #[error("the token expired {0} s ago")]
    Expired(u64),
    /// The token was good until a newer one of the same workload was used.
    #[error("the token is older than one that its workload has used since")]
    Superseded,
    /// The token is not believed, in the words of whoever judged it.
    #[error("the token is not accepted: {0}")]
    Token(String),
    /// Who would judge the token cannot be asked.
    #[error("the token cannot be judged now: {0}")]
    Unavailable(String),
    /// The client certificate does not name a workload of this mesh.
    #[error("the client certificate does not name a workload of this mesh: {0}")]
    Identity(String),
}

/// One way of proving who one is.
#[tonic::async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The caller's identity.
    ///
    /// # Errors
    /// [`AuthError::Missing`] when there is nothing that this way could judge.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError>;
}

/// Several ways: the first that believes the caller decides.
#[derive(Clone, Default)]
pub struct Authenticators(Vec<Arc<dyn Authenticator>>);

impl Authenticators {
    /// These, in this order.
    pub fn new(all: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(all)
    }
}

#[tonic::async_trait]
impl Authenticator for Authenticators {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError> {
        let mut refusal = AuthError::Missing;
        for authenticator in &self.0 {
            match authenticator.authenticate(credentials).await {
                Ok(id) => return Ok(id),
                Err(error) => {
                    if rank(&error) > rank(&refusal) {
                        refusal = error;
                    }
                }
            }
        }
        Err(refusal)
    }
}

/// The first of those who could judge the caller has the word.
fn rank(error: &AuthError) -> u8 {
    match error {
        AuthError::Missing => 0,
        AuthError::Unknown => 1,
        _ => 2,
    }
}

/// Callers that already have a certificate of this mesh, which renew it.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    trust_domain: TrustDomain,
}

impl ClientCertificates {
    /// Believes identities of this trust domain.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain }
    }
}

#[tonic::async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError> {
        let uri = match credentials.identities {
            [] => return Err(AuthError::Missing),
            [uri] => uri,
            several => {
                let text = format!("it has {} URI names and not one", several.len());
                return Err(AuthError::Identity(text));
            }
        };
        let id: SpiffeId = uri
            .parse()
            .map_err(|error| AuthError::Identity(format!("{error}")))?;
        if *id.trust_domain() != self.trust_domain {
            let text = format!("{id} is not of {}", self.trust_domain);
            return Err(AuthError::Identity(text));
        }
        if id.namespace_and_account().is_none() {
            return Err(AuthError::Identity(format!(
                "{id} has no namespace and account"
            )));
        }
        Ok(id)
    }
}

/// The workload of a Kubernetes service account, as its users are called:
/// `system:serviceaccount:NAMESPACE:NAME`.
pub(crate) fn service_account(user: &str, domain: &TrustDomain) -> Result<SpiffeId, AuthError> {
    let wrong = || {
        AuthError::Token(format!(
            "{user:?} is no system:serviceaccount:NAMESPACE:NAME"
        ))
    };
    let rest = user
        .strip_prefix("system:serviceaccount:")
        .ok_or_else(wrong)?;
    let (namespace, account) = rest.split_once(':').ok_or_else(wrong)?;
    SpiffeId::workload(domain, namespace, account).map_err(|_| wrong())
}
