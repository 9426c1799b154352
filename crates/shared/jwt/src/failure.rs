//! Why a token is not accepted, in the words and numbers of Envoy's `jwt_authn`: clients see the
//! words, and logs and metadata the numbers.

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Failure {
    /// There is none.
    #[error("Jwt is missing")]
    Missing = 1,
    /// `nbf` is still to come.
    #[error("Jwt not yet valid")]
    NotYetValid = 2,
    /// `exp` is past.
    #[error("Jwt is expired")]
    Expired = 3,
    /// It has not three parts.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    BadFormat = 4,
    /// The header is not base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64 = 5,
    /// The header is no JSON object.
    #[error("Jwt header is an invalid JSON")]
    HeaderJson = 6,
    /// `alg` is missing, or no text.
    #[error("Jwt header [alg] field is required and must be a string")]
    Algorithm = 7,
    /// `alg` is not known; `none` among others.
    #[error("Jwt header [alg] is not supported")]
    UnknownAlgorithm = 8,
    /// `kid` is no text.
    #[error("Jwt header [kid] field is not a string")]
    KeyId = 9,
    /// The payload is not base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64 = 10,
    /// The payload is no JSON object.
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson = 11,
    /// `iss` is no text.
    #[error("Jwt payload [iss] field is not a string")]
    Issuer = 12,
    /// `sub` is no text.
    #[error("Jwt payload [sub] field is not a string")]
    Subject = 13,
    /// `iat` is no number.
    #[error("Jwt payload [iat] field is not an integer")]
    IssuedAt = 14,
    /// `iat` is negative or too large.
    #[error("Jwt payload [iat] field is not a positive 64 bit integer")]
    IssuedAtRange = 15,
    /// `nbf` is no number.
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBefore = 16,
    /// `nbf` is negative or too large.
    #[error("Jwt payload [nbf] field is not a positive 64 bit integer")]
    NotBeforeRange = 17,
    /// `exp` is no number.
    #[error("Jwt payload [exp] field is not an integer")]
    Expiry = 18,
    /// `exp` is negative or too large.
    #[error("Jwt payload [exp] field is not a positive 64 bit integer")]
    ExpiryRange = 19,
    /// `jti` is no text.
    #[error("Jwt payload [jti] field is not a string")]
    Id = 20,
    /// `aud` is neither text nor a list of texts.
    #[error("Jwt payload [aud] field is not a string or string list")]
    Audience = 21,
    /// The signature is not base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64 = 22,
    /// An Ed25519 signature has 64 bytes.
    #[error("Jwt ED25519 signature is wrong length")]
    Ed25519Length = 23,
    /// Nobody knows the issuer.
    #[error("Jwt issuer is not configured")]
    UnknownIssuer = 24,
    /// It is meant for others.
    #[error("Audiences in Jwt are not allowed")]
    AudienceNotAllowed = 25,
    /// No key fits the signature, or a claim is not as required.
    #[error("Jwt verification fails")]
    Verification = 26,
    /// The key set is no JSON object.
    #[error("Jwks is an invalid JSON")]
    KeySetJson = 28,
    /// The key set has no `keys`.
    #[error("Jwks does not have [keys] field")]
    NoKeys = 29,
    /// `keys` is no list.
    #[error("[keys] in Jwks is not an array")]
    BadKeys = 30,
    /// No key is usable, or there is no key set.
    #[error("Jwks doesn't have any valid public key")]
    NoValidKeys = 31,
    /// No key has the token's `kid` and `alg`.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKeyMatches = 32,
    /// The key set could not be fetched.
    #[error("Jwks remote fetch is failed")]
    Fetch = 39,
}

impl Failure {
    /// The number by which logs and metadata know it.
    pub fn code(self) -> u8 {
        self as u8
    }
}
