//! Tokens that Kubernetes is asked about.
//!
//! In: a bearer token, and whoever can review it: the API server's TokenReview in a cluster. Out: the
//! service account that the review names.

use meltemi_spiffe::{SpiffeId, TrustDomain};

use crate::authenticator::service_account;
use crate::{AUDIENCE, AuthError, Authenticator, Credentials};

/// Reviews tokens: `authentication.k8s.io/v1`, TokenReview.
#[tonic::async_trait]
pub trait TokenReviewer: Send + Sync + 'static {
    /// What the API server says of a token for one of these audiences.
    ///
    /// # Errors
    /// When it cannot be asked; the text says why.
    async fn review(&self, token: &str, audiences: &[String]) -> Result<TokenReview, String>;
}

/// The `status` of a TokenReview.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenReview {
    /// `authenticated`.
    pub authenticated: bool,
    /// `error`; empty for none.
    pub error: String,
    /// `user.username`.
    pub username: String,
    /// `user.groups`.
    pub groups: Vec<String>,
    /// `audiences`: those of the token that were asked for.
    pub audiences: Vec<String>,
}

/// Believes what a reviewer believes.
pub struct KubernetesTokens<R> {
    reviewer: R,
    audiences: Vec<String>,
    trust_domain: TrustDomain,
}

impl<R: TokenReviewer> KubernetesTokens<R> {
    /// Asks this reviewer about tokens for the audience `istio-ca`.
    pub fn new(reviewer: R, trust_domain: TrustDomain) -> Self {
        Self {
            reviewer,
            audiences: vec![AUDIENCE.to_owned()],
            trust_domain,
        }
    }
}

#[tonic::async_trait]
impl<R: TokenReviewer> Authenticator for KubernetesTokens<R> {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<SpiffeId, AuthError> {
        let token = credentials.token.ok_or(AuthError::Missing)?;
        let review = self.reviewer.review(token, &self.audiences).await;
        let TokenReview {
            authenticated,
            error,
            username,
            groups,
            audiences,
        } = review.map_err(AuthError::Unavailable)?;
        let refused = |reason: &str| Err(AuthError::Token(reason.to_owned()));
        if !error.is_empty() {
            return refused(&error);
        }
        if !authenticated {
            return refused("the API server does not know it");
        }
        // An API server that does not know of audiences says nothing of them.
        if !audiences.iter().any(|it| self.audiences.contains(it)) {
            return refused("it is for another audience");
        }
        if !groups.iter().any(|it| it == "system:serviceaccounts") {
            return refused("it is not a service account's");
        }
        service_account(&username, &self.trust_domain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct Says(Result<TokenReview, String>);

    #[tonic::async_trait]
    impl TokenReviewer for Says {
        async fn review(&self, token: &str, audiences: &[String]) -> Result<TokenReview, String> {
            assert_eq!((token, audiences), ("opaque", &["istio-ca".to_owned()][..]));
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn what_the_api_server_says_counts() {
        let good = TokenReview {
            authenticated: true,
            error: String::new(),
            username: "system:serviceaccount:shop:web".to_owned(),
            groups: vec!["system:serviceaccounts".to_owned()],
            audiences: vec!["istio-ca".to_owned()],
        };
        let with = |edit: fn(&mut TokenReview)| {
            let mut review = good.clone();
            edit(&mut review);
            Ok(review)
        };
        for (answer, expected) in [
            (with(|_| {}), Ok("spiffe://cluster.local/ns/shop/sa/web")),
            (with(|it| it.authenticated = false), Err("does not know it")),
            (with(|it| it.audiences.clear()), Err("another audience")),
            (with(|it| it.groups.clear()), Err("not a service account's")),
            (with(|it| it.error = "expired".to_owned()), Err("expired")),
            (
                with(|it| it.username = "kubernetes-admin".to_owned()),
                Err("is no system:serviceaccount"),
            ),
            (
                with(|it| it.username = "system:serviceaccount:a:b/../c".to_owned()),
                Err("is no system:serviceaccount"),
            ),
            (Err("connection refused".to_owned()), Err("judged now")),
        ] {
            let says = format!("{answer:?}");
            let tokens = KubernetesTokens::new(Says(answer), "cluster.local".parse().unwrap());
            let credentials = Credentials {
                token: Some("opaque"),
                identities: &[],
            };
            match (tokens.authenticate(&credentials).await, expected) {
                (Ok(id), Ok(expected)) => assert_eq!(id.to_string(), expected),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{says}: {error}");
                }
                (other, _) => panic!("{says}: {other:?}"),
            }
        }
    }
}
