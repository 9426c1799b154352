//! Heads of requests and responses as header blocks, and back.

/// What an extended CONNECT asks for (RFC 8441), in the extensions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub http::HeaderValue);
