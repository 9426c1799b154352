//! Command operators: from their name and argument to what they write.

mod parse;
mod read;

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use self::read::{
    client_certificate, masked, path_of, percent_decoded, query, query_parameter, validity,
};
use super::expression::Expression;
use super::field::{Field, FieldKind, digests, unique_id};
use super::format::RecordFields;
use super::metadata::{Looked, MetadataSource};
use super::time::{TimeFormat, number};
use crate::{GrpcStatus, RequestRecord, StreamRecord};

/// What an operator writes.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    /// One that takes no argument.
    Field(Field),
    /// The stream's beginning.
    StartTime(TimeFormat),
    /// The moment of writing.
    EmitTime(TimeFormat),
    /// A value of filter state.
    FilterState(String),
    /// The address of one without its port, only so many bits of it, in CIDR notation.
    Masked(Field, u8),
    /// The value of an expression (CEL), in JSON or as text.
    Expression { expression: Expression, typed: bool },
    /// The first value of this key in `x-forwarded-client-cert`.
    ClientCertificate(String),
    /// A moment of the validity of a peer's certificate.
    Validity(Peer, Validity, TimeFormat),
    /// The first of these request headers that is there.
    Request(Vec<RequestHeader>),
    /// The same without the query that it may have.
    RequestWithoutQuery(Vec<RequestHeader>),
    /// The first of these response headers that is there.
    Response(Vec<ResponseHeader>),
    /// The first of these trailers that is there.
    Trailer(Vec<HeaderName>),
    /// The path.
    Path { query: bool, source: PathSource },
    /// A query parameter, decoded.
    QueryParameter(String),
    /// The whole query.
    Query { decoded: bool },
    /// Why the response is what it is, in words as they are.
    Details,
    /// The first of these that is there.
    Coalesce(Vec<Limited>),
    /// The gRPC status.
    GrpcStatus(GrpcForm),
    /// The time between two moments.
    Between(Moment, Moment, Unit),
    /// A value from some metadata.
    Metadata(MetadataSource, Vec<String>),
    /// The same for every stream.
    Constant(String),
    /// Something that no stream has.
    Nothing,
}

/// Why an operator cannot be compiled.
pub(super) enum OperatorError {
    Unknown,
    Argument(String),
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// Text.
    Text,
    /// A number or a structure, which in JSON stands without quotes.
    Json,
}

#[derive(Clone, Debug)]
pub(super) enum RequestHeader {
    Method,
    Scheme,
    Authority,
    Path,
    Name(HeaderName),
}

#[derive(Clone, Debug)]
pub(super) enum ResponseHeader {
    Status,
    Name(HeaderName),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PathSource {
    Current,
    Original,
    OriginalOrCurrent,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

/// An operator of which so many bytes are written.
#[derive(Clone, Debug)]
pub(super) struct Limited {
    pub operator: Operator,
    pub limit: Option<usize>,
}

/// Whose certificate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Downstream,
    Upstream,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Validity {
    Start,
    End,
}

/// A moment in a stream's life that the record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    RequestDone,
    ConnectStarted,
    Connected,
    Secured,
    RequestStarted,
    RequestSent,
    ResponseStarted,
    BodyStarted,
    ResponseReceived,
    AnswerStarted,
    ResponseDone,
    HandshakeStarted,
    HandshakeDone,
    /// One that nothing here sets.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

impl Operator {
    /// The headers that it reads.
    pub fn fields(&self) -> RecordFields {
        let mut fields = RecordFields::default();
        match self {
            Self::Request(choices) | Self::RequestWithoutQuery(choices) => fields
                .request_headers
                .extend(choices.iter().filter_map(|choice| match choice {
                    RequestHeader::Name(name) => Some(name.clone()),
                    _ => None,
                })),
            Self::Response(choices) => {
                fields
                    .response_headers
                    .extend(choices.iter().filter_map(|choice| match choice {
                        ResponseHeader::Name(name) => Some(name.clone()),
                        ResponseHeader::Status => None,
                    }))
            }
            Self::Trailer(names) => fields.response_trailers.extend(names.iter().cloned()),
            Self::Path {
                source: PathSource::Original | PathSource::OriginalOrCurrent,
                ..
            } => fields.request_headers.push(ORIGINAL_PATH),
            Self::Between(from, to, _) => {
                fields.body_started = [from, to].contains(&&Moment::BodyStarted);
            }
            Self::GrpcStatus(_) => fields.merge(&GrpcStatus::fields()),
            Self::Field(field) => {
                fields.wire_bytes = field.reads_wire_bytes();
                if field.reads_request_id() {
                    fields.request_headers.push(REQUEST_ID);
                }
            }
            Self::Expression { expression, .. } => fields.merge(&expression.fields()),
            Self::ClientCertificate(_) => fields.request_headers.push(FORWARDED_CLIENT_CERT),
            Self::Coalesce(several) => {
                for one in several {
                    fields.merge(&one.operator.fields());
                }
            }
            _ => {}
        }
        fields
    }

    /// Appends the value, if there is one.
    pub fn write(&self, record: &StreamRecord<'_>, out: &mut Vec<u8>) -> Found {
        match self {
            Self::Field(field) => write_field(*field, record, out),
            Self::Masked(field, bits) => some_display(out, masked(*field, *bits, record)),
            Self::Expression { expression, typed } => {
                write_expression(expression, *typed, record, out)
            }
            Self::ClientCertificate(key) => some(
                out,
                client_certificate(record, key)
                    .as_deref()
                    .map(str::as_bytes),
            ),
            Self::Constant(text) => some(out, Some(text.as_bytes())),
            Self::Nothing => Found::Nothing,
            Self::StartTime(format) => {
                format.write(record.start, out);
                Found::Text
            }
            Self::EmitTime(format) => {
                let moment = record.start + record.duration.unwrap_or_default();
                format.write(moment, out);
                Found::Text
            }
            Self::FilterState(key) => {
                let state = record.filter_state.and_then(|state| state.get(key));
                some(out, state.map(String::as_bytes))
            }
            Self::Validity(peer, which, format) => match validity(record, *peer, *which) {
                None => Found::Nothing,
                Some(moment) => {
                    format.write(moment, out);
                    Found::Text
                }
            },
            Self::Request(choices) => {
                let request = record.request.as_ref();
                let value = |request: &RequestRecord<'_>| {
                    let found = choices.iter().find_map(|choice| choice.get(request));
                    some(out, found)
                };
                request.map_or(Found::Nothing, value)
            }
            Self::RequestWithoutQuery(choices) => {
                let Some(request) = &record.request else {
                    return Found::Nothing;
                };
                let found = choices.iter().find_map(|choice| choice.get(request));
                some(
                    out,
                    found.and_then(|it| it.split(|byte| *byte == b'?').next()),
                )
            }
            Self::Response(choices) => write_response(choices, record, out),
            Self::Trailer(names) => some(
                out,
                names
                    .iter()
                    .find_map(|name| get(record.response_trailers, name)),
            ),
            Self::Path { query, source } => some(out, path_of(record, *query, *source)),
            Self::QueryParameter(name) => some(out, query_parameter(record, name).as_deref()),
            Self::Query { decoded } => {
                let query = query(record).map(|query| match decoded {
                    false => Cow::Borrowed(query.as_bytes()),
                    true => percent_decoded(query, |byte| byte.is_ascii_graphic()),
                });
                some(out, query.as_deref())
            }
            Self::Details => some(out, record.response_code_details.map(str::as_bytes)),
            Self::Coalesce(several) => coalesce(several, record, out),
            Self::GrpcStatus(form) => match GrpcStatus::of(record) {
                None => Found::Nothing,
                Some(status) => match form {
                    GrpcForm::Number => json_number(out, Some(status.0.into())),
                    GrpcForm::Camel => some(out, Some(status.camel().as_bytes())),
                    GrpcForm::Snake => some(out, Some(status.snake().as_bytes())),
                },
            },
            Self::Between(from, to, unit) => {
                some_number(out, between_value(record, *from, *to, *unit))
            }
            Self::Metadata(source, path) => match source.look_up(record, path) {
                None => Found::Nothing,
                Some(Looked::Text(text)) => some(out, Some(text.as_bytes())),
                Some(Looked::Json(value)) => {
                    out.extend_from_slice(value.to_string().as_bytes());
                    Found::Json
                }
            },
        }
    }
}

fn write_expression(
    expression: &Expression,
    typed: bool,
    record: &StreamRecord<'_>,
    out: &mut Vec<u8>,
) -> Found {
    if !typed {
        return some(out, expression.text(record).as_deref().map(str::as_bytes));
    }
    match expression.json(record) {
        None => Found::Nothing,
        Some(serde_json::Value::String(text)) => some(out, Some(text.as_bytes())),
        Some(value) => {
            out.extend_from_slice(value.to_string().as_bytes());
            Found::Json
        }
    }
}

fn write_response(
    choices: &[ResponseHeader],
    record: &StreamRecord<'_>,
    out: &mut Vec<u8>,
) -> Found {
    for choice in choices {
        let found = match choice {
            ResponseHeader::Status => json_number(out, record.response_code.map(u64::from)),
            ResponseHeader::Name(name) => some(out, get(record.response_headers, name)),
        };
        if found != Found::Nothing {
            return Found::Text;
        }
    }
    Found::Nothing
}

fn write_field(field: Field, record: &StreamRecord<'_>, out: &mut Vec<u8>) -> Found {
    match field.0 {
        FieldKind::Number(get) => json_number(out, get(record)),
        FieldKind::Wire(get) => json_number(out, Some(get(record))),
        FieldKind::Duration(get) => {
            let millis =
                get(record).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            json_number(out, millis)
        }
        FieldKind::Text(get) => some(
            out,
            get(record)
                .filter(|text| !text.is_empty())
                .map(str::as_bytes),
        ),
        FieldKind::Words(get) => {
            let start = out.len();
            let text = get(record).filter(|text| !text.is_empty());
            let found = some(out, text.map(str::as_bytes));
            for byte in &mut out[start..] {
                if byte.is_ascii_whitespace() {
                    *byte = b'_';
                }
            }
            found
        }
        FieldKind::List(get) => {
            let list = get(record).filter(|list| !list.is_empty());
            some(
                out,
                list.map(|list| list.join(","))
                    .as_deref()
                    .map(str::as_bytes),
            )
        }
        FieldKind::Owned(get) => some(out, get(record).as_deref().map(str::as_bytes)),
        FieldKind::Literal(get) => some(out, get(record).map(str::as_bytes)),
        FieldKind::StreamId => match &record.request {
            Some(request) => some(out, get(Some(request.headers), &REQUEST_ID)),
            None => some(out, Some(unique_id(record).as_bytes())),
        },
        FieldKind::Digests(get, algorithm) => {
            let digests = get(record).map(|chain| digests(chain, algorithm));
            let digests = digests.filter(|digests| !digests.is_empty());
            some(out, digests.as_deref().map(str::as_bytes))
        }
        FieldKind::Socket(get) => some_display(out, get(record)),
        FieldKind::Ip(get) => some_display(out, get(record).map(|address| address.ip())),
        FieldKind::Port(get) => json_number(out, get(record).map(|address| address.port().into())),
        FieldKind::Address(get) => some_display(out, get(record)),
    }
}

fn some(out: &mut Vec<u8>, value: Option<&[u8]>) -> Found {
    match value {
        Some(value) => {
            out.extend_from_slice(value);
            Found::Text
        }
        None => Found::Nothing,
    }
}

fn some_display(out: &mut Vec<u8>, value: Option<impl std::fmt::Display>) -> Found {
    use std::io::Write as _;
    match value {
        Some(value) => {
            let _ = write!(out, "{value}");
            Found::Text
        }
        None => Found::Nothing,
    }
}

fn some_number(out: &mut Vec<u8>, value: Option<i128>) -> Found {
    match some_display(out, value) {
        Found::Nothing => Found::Nothing,
        Found::Text | Found::Json => Found::Json,
    }
}

fn json_number(out: &mut Vec<u8>, value: Option<u64>) -> Found {
    match value {
        Some(value) => {
            number(out, value, 1, b'0');
            Found::Json
        }
        None => Found::Nothing,
    }
}

fn get<'a>(headers: Option<&'a HeaderMap>, name: &HeaderName) -> Option<&'a [u8]> {
    Some(headers?.get(name)?.as_bytes())
}

impl RequestHeader {
    fn get<'a>(&self, request: &RequestRecord<'a>) -> Option<&'a [u8]> {
        let pseudo = |text: &'a str| (!text.is_empty()).then_some(text.as_bytes());
        match self {
            Self::Method => pseudo(request.method),
            Self::Scheme => pseudo(request.scheme),
            Self::Authority => pseudo(request.authority),
            Self::Path => pseudo(request.path),
            Self::Name(name) => get(Some(request.headers), name),
        }
    }
}

impl Moment {
    /// Nanoseconds from the stream's beginning; less than 0 for what was before.
    fn of(self, record: &StreamRecord<'_>) -> Option<i128> {
        let since = |time: Duration| i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
        let connecting = || record.upstream.as_ref()?.connecting;
        let wall = |time: Duration| since(time) - since(record.start);
        let handshake = record.connection.handshake;
        match self {
            Self::Start => Some(0),
            Self::RequestDone => record.request_done.map(since),
            Self::ConnectStarted => connecting().map(|it| it.started),
            Self::Connected => connecting().map(|it| it.connected),
            Self::Secured => connecting()?.secured,
            Self::RequestStarted => record.request_started.map(since),
            Self::RequestSent => record.request_sent.map(since),
            Self::ResponseStarted => record.response_started.map(since),
            Self::BodyStarted => record.body_started.map(since),
            Self::HandshakeStarted => handshake.map(|(began, _)| wall(began)),
            Self::HandshakeDone => handshake.map(|(_, ended)| wall(ended)),
            Self::Never => None,
            Self::ResponseReceived => {
                record.response_started?;
                record.response_done.map(since)
            }
            Self::AnswerStarted => record.answer_started.map(since),
            Self::ResponseDone => record.response_done.map(since),
        }
    }
}

fn between_value(record: &StreamRecord<'_>, from: Moment, to: Moment, unit: Unit) -> Option<i128> {
    let time = to.of(record)? - from.of(record)?;
    Some(match unit {
        Unit::Milliseconds => time / 1_000_000,
        Unit::Microseconds => time / 1_000,
        Unit::Nanoseconds => time,
    })
}

/// Writes the first that has a value.
fn coalesce(several: &[Limited], record: &StreamRecord<'_>, out: &mut Vec<u8>) -> Found {
    let start = out.len();
    for Limited { operator, limit } in several {
        let found = operator.write(record, out);
        if found != Found::Nothing && out.len() > start {
            if let Some(limit) = limit {
                out.truncate(out.len().min(start + limit));
            }
            return found;
        }
        out.truncate(start);
    }
    Found::Nothing
}
