//! Records of OpenTelemetry's logs (`opentelemetry.proto.logs.v1`), as far as they are written.

use meltemi_ir::Value;

use super::LogSource;
use crate::StreamRecord;
use crate::access_log::{FormatError, Formatter, RecordFields};

/// What a record says: its body and attributes, whose texts are formats.
#[derive(Debug)]
pub(super) struct Template {
    body: Option<Part>,
    attributes: Vec<(String, Part)>,
}

#[derive(Debug)]
enum Part {
    Text(Formatter),
    List(Vec<Part>),
    Pairs(Vec<(String, Part)>),
}

/// `LogRecord`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
}

/// `Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// `AnyValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(oneof = "Kind", tags = "1, 5, 6")]
    value: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(message, tag = "5")]
    List(ArrayValue),
    #[prost(message, tag = "6")]
    Pairs(KeyValueList),
}

/// `ArrayValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

/// `KeyValueList`.
#[derive(Clone, PartialEq, prost::Message)]
struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    values: Vec<KeyValue>,
}

impl Template {
    pub(super) fn new(
        body: Option<&Value>,
        attributes: &[(String, Value)],
    ) -> Result<Self, FormatError> {
        let pair = |(key, value): &(String, Value)| Ok((key.clone(), Part::new(value)?));
        Ok(Self {
            body: body.map(Part::new).transpose()?,
            attributes: attributes.iter().map(pair).collect::<Result<_, _>>()?,
        })
    }

    /// The headers that it mentions.
    pub(super) fn fields(&self) -> RecordFields {
        let mut fields = RecordFields::default();
        let attributes = self.attributes.iter().map(|(_, part)| part);
        for part in self.body.iter().chain(attributes) {
            part.note_fields(&mut fields);
        }
        fields
    }

    pub(super) fn record(&self, record: &StreamRecord<'_>) -> LogRecord {
        LogRecord {
            time_unix_nano: u64::try_from(record.start.as_nanos()).unwrap_or(u64::MAX),
            body: self.body.as_ref().map(|part| part.value(record)),
            attributes: pairs(&self.attributes, record),
        }
    }
}

impl Part {
    fn new(value: &Value) -> Result<Self, FormatError> {
        Ok(match value {
            Value::String(text) => Self::Text(Formatter::parse(text)?),
            Value::List(values) => {
                Self::List(values.iter().map(Self::new).collect::<Result<_, _>>()?)
            }
            Value::Struct(fields) => {
                let pair = |(key, value): (&String, &Value)| Ok((key.clone(), Self::new(value)?));
                Self::Pairs(fields.iter().map(pair).collect::<Result<_, _>>()?)
            }
            Value::Null => Self::Text(Formatter::parse("")?),
            Value::Bool(truth) => Self::Text(Formatter::parse(&truth.to_string())?),
            Value::Number(number) => Self::Text(Formatter::parse(&number.to_string())?),
        })
    }

    fn note_fields(&self, fields: &mut RecordFields) {
        match self {
            Self::Text(format) => fields.merge(format.fields()),
            Self::List(parts) => parts.iter().for_each(|part| part.note_fields(fields)),
            Self::Pairs(pairs) => pairs.iter().for_each(|(_, part)| part.note_fields(fields)),
        }
    }

    fn value(&self, record: &StreamRecord<'_>) -> AnyValue {
        let kind = match self {
            Self::Text(format) => {
                let mut text = Vec::new();
                format.format(record, &mut text);
                Kind::Text(String::from_utf8_lossy(&text).into_owned())
            }
            Self::List(parts) => Kind::List(ArrayValue {
                values: parts.iter().map(|part| part.value(record)).collect(),
            }),
            Self::Pairs(parts) => Kind::Pairs(KeyValueList {
                values: pairs(parts, record),
            }),
        };
        AnyValue { value: Some(kind) }
    }
}

fn pairs(parts: &[(String, Part)], record: &StreamRecord<'_>) -> Vec<KeyValue> {
    let pair = |(key, part): &(String, Part)| KeyValue {
        key: key.clone(),
        value: Some(part.value(record)),
    };
    parts.iter().map(pair).collect()
}

/// Where records come from: the log and the node, where they are to be named, and what else is said.
pub(super) fn resource(
    attributes: &[(String, Value)],
    named: Option<(&str, LogSource<'_>)>,
) -> Resource {
    let own = named.into_iter().flat_map(|(log, source)| {
        [
            ("log_name", log),
            // Zones are not told: the node's locality is not known here.
            ("zone_name", ""),
            ("cluster_name", source.cluster),
            ("node_name", source.node),
        ]
    });
    let own = own.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
    let all = own.chain(attributes.iter().cloned());
    Resource {
        attributes: all.map(|(key, value)| literal_pair(key, &value)).collect(),
    }
}

fn literal_pair(key: String, value: &Value) -> KeyValue {
    KeyValue {
        key,
        value: Some(literal(value)),
    }
}

/// A value as it is written.
fn literal(value: &Value) -> AnyValue {
    let kind = match value {
        Value::String(text) => Kind::Text(text.clone()),
        Value::Null => Kind::Text(String::new()),
        Value::Bool(truth) => Kind::Text(truth.to_string()),
        Value::Number(number) => Kind::Text(number.to_string()),
        Value::List(values) => Kind::List(ArrayValue {
            values: values.iter().map(literal).collect(),
        }),
        Value::Struct(fields) => {
            let pairs = fields.iter();
            Kind::Pairs(KeyValueList {
                values: pairs
                    .map(|(key, value)| literal_pair(key.clone(), value))
                    .collect(),
            })
        }
    };
    AnyValue { value: Some(kind) }
}
