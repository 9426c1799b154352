//! Tokens that the API server of a cluster is asked about.
//!
//! In: a token and audiences. Out: what the server says, as the authority takes it. Called by its
//! authenticator.

use std::sync::Arc;

use meltemi_ca::{TokenReview, TokenReviewer};
use meltemi_kubernetes::{Client, Review};

/// The reviews of an API server.
pub(crate) struct Reviews(pub Arc<Client>);

#[tonic::async_trait]
impl TokenReviewer for Reviews {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<TokenReview, String> {
        let review = self.0.review(token, audiences).await;
        let Review {
            authenticated,
            error,
            user,
            audiences,
        } = review.map_err(|error| format!("{}: {error}", self.0.server()))?;
        Ok(TokenReview {
            authenticated,
            error,
            username: user.username,
            groups: user.groups,
            audiences,
        })
    }
}
