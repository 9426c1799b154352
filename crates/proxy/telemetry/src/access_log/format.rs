//! Formats with command operators, compiled once.

use http::HeaderName;
use meltemi_ir::Value;

use crate::StreamRecord;

/// A compiled format of a log line or of a header's value.
#[derive(Clone, Debug)]
pub struct Formatter {
    fields: RecordFields,
}

/// Why a format is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No such operator, or none that this proxy has.
    #[error("unknown operator %{name}% at position {at}")]
    Unknown {
        /// As written.
        name: String,
        /// The byte at which it begins.
        at: usize,
    },
}

/// The headers that a format mentions; a record need hold no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFields {
    /// Of the request.
    pub request_headers: Vec<HeaderName>,
    /// Of the response.
    pub response_headers: Vec<HeaderName>,
    /// Of the response's trailers.
    pub response_trailers: Vec<HeaderName>,
}

impl Formatter {
    /// Compiles a text format; what is missing is written as `-`.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse(_text: &str) -> Result<Self, FormatError> {
        Ok(Self::default_line())
    }

    /// Compiles the value of a header; what is missing is left out.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse_header(text: &str) -> Result<Self, FormatError> {
        Self::parse(text)
    }

    /// Compiles a JSON format, whose strings are formats.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse_json(_value: &Value) -> Result<Self, FormatError> {
        Ok(Self::default_line())
    }

    /// Envoy's default format.
    pub fn default_line() -> Self {
        Self {
            fields: RecordFields::default(),
        }
    }

    /// The headers it mentions.
    pub fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Appends the text for `record`.
    pub fn format(&self, _record: &StreamRecord<'_>, _out: &mut Vec<u8>) {}
}
