//! A token, taken apart and checked for its form; nothing in it is to be believed before
//! [`crate::KeySet::verify`] has agreed.

use serde_json::Value;

use crate::json::{Object, base64, object};
use crate::{Algorithm, Failure};

/// Largest token: what Envoy takes of headers in all, unless configured otherwise.
pub const MOST_BYTES: usize = 60 << 10;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The header.
    pub header: Object,
    /// The claims.
    pub payload: Object,
    /// The claims as they came, in base64url.
    pub payload_text: String,
    /// `alg`.
    pub algorithm: Algorithm,
    /// `kid`; empty for none.
    pub key_id: String,
    /// `iss`; empty for none.
    pub issuer: String,
    /// `sub`; empty for none.
    pub subject: String,
    /// `aud`.
    pub audiences: Vec<String>,
    /// `nbf`, in seconds since the Unix epoch; 0 for none.
    pub not_before: u64,
    /// `exp`, in seconds since the Unix epoch; 0 for none.
    pub expiry: u64,
    /// What was signed.
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() > MOST_BYTES {
            return Err(Failure::BadFormat);
        }
        let mut parts = text.split('.');
        let (Some(header_text), Some(payload_text), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::BadFormat);
        };
        if header_text.is_empty() || payload_text.is_empty() || signature.is_empty() {
            return Err(Failure::BadFormat);
        }
        let header = base64(header_text).ok_or(Failure::HeaderBase64)?;
        let header = object(&header).ok_or(Failure::HeaderJson)?;
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Failure::Algorithm);
        };
        let algorithm = Algorithm::from_name(algorithm).ok_or(Failure::UnknownAlgorithm)?;
        let key_id = string(&header, "kid", Failure::KeyId)?;
        let payload = base64(payload_text).ok_or(Failure::PayloadBase64)?;
        let payload = object(&payload).ok_or(Failure::PayloadJson)?;
        let issuer = string(&payload, "iss", Failure::Issuer)?;
        let subject = string(&payload, "sub", Failure::Subject)?;
        seconds(&payload, "iat", Failure::IssuedAt, Failure::IssuedAtRange)?;
        let not_before = seconds(&payload, "nbf", Failure::NotBefore, Failure::NotBeforeRange)?;
        let expiry = seconds(&payload, "exp", Failure::Expiry, Failure::ExpiryRange)?;
        string(&payload, "jti", Failure::Id)?;
        let audiences = audiences(&payload)?;
        let signature = base64(signature).ok_or(Failure::SignatureBase64)?;
        Ok(Self {
            signed: format!("{header_text}.{payload_text}"),
            payload_text: payload_text.to_owned(),
            header,
            payload,
            algorithm,
            key_id,
            issuer,
            subject,
            audiences,
            not_before,
            expiry,
            signature,
        })
    }

    /// Whether it is valid at `now`, in seconds since the Unix epoch, by a clock that may be off
    /// by so many seconds.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_time(&self, now: u64, skew: u64) -> Result<(), Failure> {
        if now.saturating_add(skew) < self.not_before {
            return Err(Failure::NotYetValid);
        }
        if self.expiry != 0 && now > self.expiry.saturating_add(skew) {
            return Err(Failure::Expired);
        }
        Ok(())
    }
}

/// A text; empty where there is none.
fn string(object: &Object, name: &str, wrong: Failure) -> Result<String, Failure> {
    match object.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(wrong),
    }
}

/// A time in whole seconds; 0 where there is none.
fn seconds(object: &Object, name: &str, wrong: Failure, range: Failure) -> Result<u64, Failure> {
    let Some(value) = object.get(name) else {
        return Ok(0);
    };
    let Value::Number(number) = value else {
        return Err(wrong);
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(seconds);
    }
    match number.as_f64() {
        // Converts towards zero; the bounds are those of the type.
        Some(seconds) if (0.0..u64::MAX as f64).contains(&seconds) => Ok(seconds as u64),
        _ => Err(range),
    }
}

fn audiences(payload: &Object) -> Result<Vec<String>, Failure> {
    match payload.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or(Failure::Audience),
        Some(_) => Err(Failure::Audience),
    }
}
