//! Protobuf JSON: bootstraps and patches come in through [`from_json`], admin answers and command
//! line output go out through [`to_json`].
//!
//! Coming in, every name is checked and an error says at which path; names are looked up in tables
//! that cost nothing at start (`schema`). Going out, by the descriptors of [`crate::pool`],
//! nothing fails: what cannot be named is printed as base64.

mod known;
mod name;
mod path;
mod print;
mod read;
mod scalar;
mod schema;
mod slot;
mod wire;

use prost::{Message, Name};
use prost_reflect::DynamicMessage;
use serde::Deserializer;
use serde_json::Value;

use self::print::Printer;
use self::read::Reader;
use self::schema::MessageType;

pub use self::read::Failure;

/// How field names are printed. Both spellings are accepted when parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonNames {
    /// As in the `.proto` file, `virtual_hosts`: what Envoy's admin interface prints.
    #[default]
    Proto,
    /// Camel case, `virtualHosts`: what `istioctl proxy-config -o json` prints.
    Json,
}

/// What is printed of the fields that Envoy's protos mark as sensitive, private keys for instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// The value itself.
    #[default]
    Shown,
    /// `[redacted]`, as in Envoy's config dump.
    Redacted,
}

/// How messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonStyle {
    /// The spelling of field names.
    pub names: JsonNames,
    /// Whether sensitive fields are shown.
    pub secrets: Secrets,
}

/// Why JSON is not a message. Every variant about a value carries the path of that value, such as
/// `static_resources.listeners[0].filter_chains`, as spelled in the input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// The message has no field of this name.
    #[error("{path}: {message} has no such field")]
    UnknownField {
        /// Path of the field, its name included.
        path: String,
        /// Full name of the message type.
        message: String,
    },
    /// The `@type` of an `Any` is not among the types of this crate.
    #[error("{path}: unknown @type {url:?}")]
    UnknownType {
        /// Path of the `Any`.
        path: String,
        /// The type URL as written.
        url: String,
    },
    /// An `Any` does not say its type.
    #[error("{path}: missing @type")]
    MissingType {
        /// Path of the `Any`.
        path: String,
    },
    /// The value is of the wrong kind, out of range, or malformed.
    #[error("{path}: expected {expected}, found {found}")]
    Mismatch {
        /// Path of the value.
        path: String,
        /// What the field takes.
        expected: String,
        /// The value, shortened.
        found: String,
    },
    /// The enumeration has no value of this name.
    #[error("{path}: {value:?} is not a value of {enumeration}")]
    UnknownEnumValue {
        /// Path of the value.
        path: String,
        /// The name as written.
        value: String,
        /// Full name of the enumeration.
        enumeration: String,
    },
    /// A field is given twice, once in each spelling.
    #[error("{path}: given twice, also as {other:?}")]
    Duplicate {
        /// Path of the second.
        path: String,
        /// The other spelling.
        other: String,
    },
    /// Two fields are given of which at most one may be.
    #[error("{path}: cannot be set together with {other:?}, they are alternatives of {oneof}")]
    OneofConflict {
        /// Path of the second.
        path: String,
        /// Name of the first.
        other: String,
        /// Name of the `oneof`.
        oneof: String,
    },
    /// Nested deeper than any decoder accepts.
    #[error("{path}: nested too deep")]
    TooDeep {
        /// Path of the value that is too deep.
        path: String,
    },
    /// The message does not survive its own encoding: a defect of this crate.
    #[error("{message} from JSON does not decode: {source}")]
    Transcode {
        /// Full name of the message type.
        message: String,
        /// What the decoder found.
        source: prost::DecodeError,
    },
}

impl JsonError {
    /// The path of the value at fault; empty for the whole document.
    pub fn path(&self) -> &str {
        match self {
            Self::UnknownField { path, .. }
            | Self::UnknownType { path, .. }
            | Self::MissingType { path }
            | Self::Mismatch { path, .. }
            | Self::UnknownEnumValue { path, .. }
            | Self::Duplicate { path, .. }
            | Self::OneofConflict { path, .. }
            | Self::TooDeep { path } => path,
            Self::Transcode { .. } => "",
        }
    }
}

/// Prints a message with names as in the `.proto` files and secrets shown.
///
/// # Panics
/// As [`to_json_with`].
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    to_json_with(message, JsonStyle::default())
}

/// Prints a message. Fields at their default are left out; the message inside an `Any` is printed
/// beside its `@type`, or as base64 in `value` where the type is unknown or its bytes malformed.
///
/// # Panics
/// When the type is not one of [`crate::pb`] or Google's well-known types.
pub fn to_json_with<M: Message + Name>(message: &M, style: JsonStyle) -> Value {
    let descriptor = descriptor::<M>();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes by its own descriptor");
    Printer::new(style).message(&dynamic)
}

/// Reads a message. Names are taken in either spelling and `null` means absent; an unknown field,
/// an unknown `@type` or an unknown enumeration value is an error.
///
/// # Errors
/// The first value that does not fit, with its path.
///
/// # Panics
/// When the type is not one of [`crate::pb`] or Google's well-known types.
pub fn from_json<M: Message + Name + Default>(value: Value) -> Result<M, JsonError> {
    from_deserializer(value).map_err(|failure| match failure {
        Failure::Value(error) => error,
        Failure::Document(_) => unreachable!("a tree is a document"),
    })
}

/// As [`from_json`], but answers with the message's encoding.
///
/// # Errors
/// As [`from_json`].
///
/// # Panics
/// As [`from_json`].
pub fn encode_json<M: Name>(value: Value) -> Result<Vec<u8>, JsonError> {
    encode_deserializer::<M, _>(value).map_err(|failure| match failure {
        Failure::Value(error) => error,
        Failure::Document(_) => unreachable!("a tree is a document"),
    })
}

/// Reads a message as [`from_json`] does, from a document that is read as it is needed.
///
/// # Errors
/// The first value that does not fit, with its path, or what the deserializer says of a malformed
/// document, whichever comes first in it.
///
/// # Panics
/// As [`from_json`].
pub fn from_deserializer<'de, M, D>(deserializer: D) -> Result<M, Failure<D::Error>>
where
    M: Message + Name + Default,
    D: Deserializer<'de>,
{
    let bytes = encode_deserializer::<M, D>(deserializer)?;
    M::decode(bytes.as_slice()).map_err(|source| {
        Failure::Value(JsonError::Transcode {
            message: M::full_name(),
            source,
        })
    })
}

/// As [`from_deserializer`], but answers with the message's encoding, which takes a tenth of what
/// the message takes.
///
/// # Errors
/// As [`from_deserializer`].
///
/// # Panics
/// As [`from_json`].
pub fn encode_deserializer<'de, M, D>(deserializer: D) -> Result<Vec<u8>, Failure<D::Error>>
where
    M: Name,
    D: Deserializer<'de>,
{
    let message =
        MessageType::named(&M::full_name()).expect("the tables hold every generated type");
    Reader::default().read(message, deserializer)
}

fn descriptor<M: Name>() -> prost_reflect::MessageDescriptor {
    crate::pool()
        .get_message_by_name(&M::full_name())
        .expect("the descriptor set holds every generated type")
}
