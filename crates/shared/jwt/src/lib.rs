//! JSON Web Tokens (RFC 7519): taking them apart, key sets (RFC 7517), and whether a key signed
//! one. Pure: text and the time enter, a token or the reason against it leaves. The HTTP filter
//! `jwt_authn` calls it, and the authority for the tokens of its callers.
//!
//! It is strict where leniency has let people in elsewhere: `alg` must be one of those known here
//! and must be what the key is for, no member may stand twice in an object, a token has a largest
//! size, and base64 has one spelling only.

mod algorithm;
mod failure;
mod json;
mod key;
mod key_set;
mod token;

pub use algorithm::Algorithm;
pub use failure::Failure;
pub use json::{Object, at_path};
pub use key_set::KeySet;
pub use token::{MOST_BYTES, Token};

#[cfg(test)]
mod tests;
