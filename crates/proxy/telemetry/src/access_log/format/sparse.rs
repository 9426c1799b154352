//! JSON formats that leave out what is not there (`omit_empty_values`): members and elements that
//! come to nothing, and objects that are left empty. Lists stay.
//!
//! In: the format as a value. Out: a tree that writes itself.

use meltemi_ir::Value;

use super::{FormatError, Segment, end, note_fields, parse, quote, write};
use crate::StreamRecord;
use crate::access_log::format::RecordFields;
use crate::access_log::operator::{Found, Operator};

/// A JSON value whose parts may come to nothing.
#[derive(Clone, Debug)]
pub(super) enum Sparse {
    /// A value that is the same each time.
    Fixed(String),
    /// One operator, as a value of its own kind.
    Operator(Operator, Option<usize>),
    /// A text.
    Text(Vec<Segment>),
    List(Vec<Sparse>),
    /// Members by their names as JSON; none is null.
    Object(Vec<(String, Sparse)>),
}

impl Sparse {
    pub(super) fn parse(value: &Value) -> Result<Self, FormatError> {
        Ok(match value {
            Value::Null => Self::Object(Vec::new()),
            Value::Bool(truth) => Self::Fixed(truth.to_string()),
            Value::Number(number) => Self::Fixed(number.to_string()),
            Value::String(text) => {
                let mut segments = parse(text)?;
                match segments.pop() {
                    Some(Segment::Operator(operator, limit)) if segments.is_empty() => {
                        Self::Operator(operator, limit)
                    }
                    last => {
                        segments.extend(last);
                        Self::Text(segments)
                    }
                }
            }
            Value::List(values) => {
                let values: Result<_, _> = values.iter().map(Self::parse).collect();
                Self::List(values?)
            }
            Value::Struct(fields) => {
                let member = |(name, value): (&String, &Value)| {
                    let name = serde_json::Value::from(name.as_str()).to_string();
                    Ok((name, Self::parse(value)?))
                };
                let members: Result<_, FormatError> = fields.iter().map(member).collect();
                Self::Object(members?)
            }
        })
    }

    pub(super) fn note_fields(&self, fields: &mut RecordFields) {
        match self {
            Self::Fixed(_) => {}
            Self::Operator(operator, _) => fields.merge(&operator.fields()),
            Self::Text(segments) => note_fields(segments, fields),
            Self::List(values) => values.iter().for_each(|value| value.note_fields(fields)),
            Self::Object(members) => {
                members
                    .iter()
                    .for_each(|(_, value)| value.note_fields(fields));
            }
        }
    }

    /// Writes it; false where it comes to nothing, in which case nothing is written.
    pub(super) fn write(&self, record: &StreamRecord<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match self {
            Self::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(segments) => {
                write(segments, "", record, out);
                quote(out, start);
            }
            Self::Operator(operator, limit) => match operator.write(record, out) {
                Found::Nothing => return false,
                Found::Json => {}
                Found::Text => {
                    out.truncate(end(start, out.len(), *limit));
                    quote(out, start);
                }
            },
            Self::List(values) => {
                let write = |value: &Self, out: &mut Vec<u8>| value.write(record, out);
                if !several(out, (b'[', b']'), values, write) {
                    out.extend_from_slice(b"[]");
                }
            }
            Self::Object(members) => {
                return several(out, (b'{', b'}'), members, |(name, value), out| {
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    value.write(record, out)
                });
            }
        }
        true
    }
}

/// Writes what does not come to nothing between brackets; false where all of it does.
fn several<T>(
    out: &mut Vec<u8>,
    (open, close): (u8, u8),
    parts: &[T],
    write: impl Fn(&T, &mut Vec<u8>) -> bool,
) -> bool {
    let start = out.len();
    let mut last = open;
    for part in parts {
        let before = out.len();
        out.push(last);
        if write(part, out) {
            last = b',';
        } else {
            out.truncate(before);
        }
    }
    if last == open {
        out.truncate(start);
        return false;
    }
    out.push(close);
    true
}
