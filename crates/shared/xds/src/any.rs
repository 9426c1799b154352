//! Messages in and out of `google.protobuf.Any`, named by their own type.

use prost::{Message, Name};
use prost_types::Any;

/// What every type URL starts with, in xDS as in Istio.
pub(crate) const TYPE_URL_PREFIX: &str = "type.googleapis.com/";

/// Why an `Any` is not the message that was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnpackError {
    /// The message inside is of another type.
    #[error("expected {expected}, found {found:?}")]
    WrongType {
        /// Type URL that was asked for.
        expected: String,
        /// Type URL of the message inside; empty where none is set.
        found: String,
    },
    /// The bytes are not those of a message of that type.
    #[error("malformed {type_url}: {source}")]
    Malformed {
        /// Type URL of the message inside.
        type_url: String,
        /// What the decoder found.
        source: prost::DecodeError,
    },
}

/// The type URL of a message type, as in `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
pub fn type_url<M: Name>() -> String {
    format!("{TYPE_URL_PREFIX}{}", M::full_name())
}

/// The full name of the message type that a type URL names: all after the last slash.
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

/// Whether an `Any` holds a message of this type, whatever the host in its type URL.
pub fn is<M: Name>(any: &Any) -> bool {
    type_name(&any.type_url) == M::full_name()
}

/// Wraps a message, naming its type.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: type_url::<M>(),
        value: message.encode_to_vec(),
    }
}

/// Unwraps a message of a known type.
///
/// # Errors
/// When the message inside is of another type, or its bytes are malformed.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    if !is::<M>(any) {
        return Err(UnpackError::WrongType {
            expected: type_url::<M>(),
            found: any.type_url.clone(),
        });
    }
    M::decode(any.value.as_slice()).map_err(|source| UnpackError::Malformed {
        type_url: any.type_url.clone(),
        source,
    })
}
