//! Formats with command operators, compiled once: log lines, JSON log lines and header values.

mod sparse;

use http::HeaderName;
use meltemi_ir::{LogFormat, Value};

use self::sparse::Sparse;
use super::operator::{Found, Operator, OperatorError};
use crate::StreamRecord;

/// A compiled format of a log line or of a header's value.
#[derive(Clone, Debug)]
pub struct Formatter {
    segments: Vec<Segment>,
    /// What stands for a value that is not there.
    missing: &'static str,
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
    /// The operator takes no such argument.
    #[error("operator %{name}% at position {at}: {why}")]
    Argument {
        /// The operator.
        name: String,
        /// The byte at which it begins.
        at: usize,
        /// What is wrong with its argument.
        why: String,
    },
    /// A percent sign that begins no operator.
    #[error("no operator ends the % at position {at}; write %% for a percent sign")]
    Malformed {
        /// The byte at which it is.
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
    /// Whether it mentions bytes on the wire.
    pub wire_bytes: bool,
    /// Whether it mentions when the first of a response's body came.
    pub body_started: bool,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    Operator(Operator, Option<usize>),
    /// One operator as a JSON value of its own kind, null where there is nothing.
    JsonValue(Operator, Option<usize>),
    /// A JSON string.
    JsonString(Vec<Segment>),
    /// An object without what is not there.
    Sparse(Sparse),
}

/// Envoy's default format.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
    %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

impl Formatter {
    /// Compiles a text format; what is missing is written as `-`.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self::new(parse(text)?, "-"))
    }

    /// Compiles the value of a header; what is missing is left out.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse_header(text: &str) -> Result<Self, FormatError> {
        Ok(Self::new(parse(text)?, ""))
    }

    /// Compiles a JSON format, whose strings are formats. A string that is one operator becomes a
    /// value of the operator's kind. A line ends with a line break.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn parse_json(value: &Value) -> Result<Self, FormatError> {
        let mut segments = Vec::new();
        json(value, &mut segments)?;
        literal(&mut segments, "\n");
        Ok(Self::new(segments, "-"))
    }

    /// Compiles a format as it is configured.
    ///
    /// # Errors
    /// When an operator is unknown or malformed.
    pub fn compile(format: &LogFormat) -> Result<Self, FormatError> {
        Ok(match format {
            LogFormat::Default => Self::default_line(),
            LogFormat::Text(text) => Self::parse(text)?,
            LogFormat::SparseText(text) => Self::parse_header(text)?,
            LogFormat::Json(value) => Self::parse_json(value)?,
            LogFormat::SparseJson(value) => {
                let mut segments = vec![Segment::Sparse(Sparse::parse(value)?)];
                literal(&mut segments, "\n");
                Self::new(segments, "")
            }
        })
    }

    /// Envoy's default format.
    pub fn default_line() -> Self {
        Self::parse(DEFAULT).expect("every operator of the default format is known")
    }

    /// The headers it mentions.
    pub fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Appends the text for `record`.
    pub fn format(&self, record: &StreamRecord<'_>, out: &mut Vec<u8>) {
        write(&self.segments, self.missing, record, out);
    }

    fn new(segments: Vec<Segment>, missing: &'static str) -> Self {
        let mut fields = RecordFields::default();
        note_fields(&segments, &mut fields);
        Self {
            segments,
            missing,
            fields,
        }
    }
}

impl RecordFields {
    /// Adds what another format mentions.
    pub fn merge(&mut self, other: &Self) {
        add_missing(&mut self.request_headers, &other.request_headers);
        add_missing(&mut self.response_headers, &other.response_headers);
        add_missing(&mut self.response_trailers, &other.response_trailers);
        self.wire_bytes |= other.wire_bytes;
        self.body_started |= other.body_started;
    }
}

fn add_missing(own: &mut Vec<HeaderName>, other: &[HeaderName]) {
    for name in other {
        if !own.contains(name) {
            own.push(name.clone());
        }
    }
}

fn note_fields(segments: &[Segment], fields: &mut RecordFields) {
    for segment in segments {
        match segment {
            Segment::Literal(_) => {}
            Segment::Operator(operator, _) | Segment::JsonValue(operator, _) => {
                fields.merge(&operator.fields());
            }
            Segment::JsonString(inner) => note_fields(inner, fields),
            Segment::Sparse(object) => object.note_fields(fields),
        }
    }
}

fn parse(text: &str) -> Result<Vec<Segment>, FormatError> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        literal(&mut segments, &rest[..start]);
        let at = text.len() - rest.len() + start;
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal(&mut segments, "%");
            rest = after;
            continue;
        }
        let (name, argument, limit, after) = command(rest).ok_or(FormatError::Malformed { at })?;
        let operator = Operator::parse(name, argument).map_err(|error| match error {
            OperatorError::Unknown => FormatError::Unknown {
                name: rest[..rest.len() - after.len() - 1].to_owned(),
                at,
            },
            OperatorError::Argument(why) => FormatError::Argument {
                name: name.to_owned(),
                at,
                why,
            },
        })?;
        if limit.is_some() && !operator.may_be_limited() {
            return Err(FormatError::Argument {
                name: name.to_owned(),
                at,
                why: "it takes no length".to_owned(),
            });
        }
        segments.push(Segment::Operator(operator, limit));
        rest = after;
    }
    literal(&mut segments, rest);
    Ok(segments)
}

/// Splits `NAME(argument):10%rest`; none where it is not of this form.
fn command(text: &str) -> Option<(&str, Option<&str>, Option<usize>, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
    let (name, mut rest) = text.split_at(end);
    let mut argument = None;
    if let Some(inside) = rest.strip_prefix('(') {
        let (inner, after) = inside.split_once(')')?;
        argument = Some(inner);
        rest = after;
    }
    let mut limit = None;
    if let Some(digits) = rest.strip_prefix(':') {
        let (number, _) = digits.split_once('%')?;
        limit = Some(number.parse().ok()?);
        rest = &digits[number.len()..];
    }
    let rest = rest.strip_prefix('%')?;
    (!name.is_empty()).then_some((name, argument, limit, rest))
}

fn literal(segments: &mut Vec<Segment>, text: &str) {
    match segments.last_mut() {
        Some(Segment::Literal(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => segments.push(Segment::Literal(text.to_owned())),
    }
}

fn json(value: &Value, segments: &mut Vec<Segment>) -> Result<(), FormatError> {
    match value {
        Value::String(text) => {
            let mut inner = parse(text)?;
            match inner.pop() {
                Some(Segment::Operator(operator, limit)) if inner.is_empty() => {
                    segments.push(Segment::JsonValue(operator, limit));
                }
                last => {
                    inner.extend(last);
                    segments.push(Segment::JsonString(inner));
                }
            }
        }
        Value::Null => literal(segments, "null"),
        Value::Bool(truth) => literal(segments, if *truth { "true" } else { "false" }),
        Value::Number(number) => literal(segments, &number.to_string()),
        Value::List(values) => {
            literal(segments, "[");
            for (at, value) in values.iter().enumerate() {
                literal(segments, if at > 0 { "," } else { "" });
                json(value, segments)?;
            }
            literal(segments, "]");
        }
        Value::Struct(fields) => {
            literal(segments, "{");
            for (at, (name, value)) in fields.iter().enumerate() {
                let comma = if at > 0 { "," } else { "" };
                let name = serde_json::Value::from(name.as_str());
                literal(segments, &format!("{comma}{name}:"));
                json(value, segments)?;
            }
            literal(segments, "}");
        }
    }
    Ok(())
}

fn write(segments: &[Segment], missing: &str, record: &StreamRecord<'_>, out: &mut Vec<u8>) {
    for segment in segments {
        let start = out.len();
        match segment {
            Segment::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Segment::Operator(operator, limit) => match operator.write(record, out) {
                Found::Nothing => out.extend_from_slice(missing.as_bytes()),
                Found::Text | Found::Json => out.truncate(end(start, out.len(), *limit)),
            },
            Segment::JsonValue(operator, limit) => match operator.write(record, out) {
                Found::Nothing => out.extend_from_slice(b"null"),
                Found::Json => {}
                Found::Text => {
                    out.truncate(end(start, out.len(), *limit));
                    quote(out, start);
                }
            },
            Segment::JsonString(inner) => {
                write(inner, missing, record, out);
                quote(out, start);
            }
            Segment::Sparse(object) => {
                if !object.write(record, out) {
                    out.extend_from_slice(b"{}");
                }
            }
        }
    }
}

fn end(start: usize, end: usize, limit: Option<usize>) -> usize {
    limit.map_or(end, |limit| end.min(start + limit))
}

/// Makes everything from `start` on a JSON string.
fn quote(out: &mut Vec<u8>, start: usize) {
    let text = String::from_utf8_lossy(&out[start..]).into_owned();
    out.truncate(start);
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control if u32::from(control) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
