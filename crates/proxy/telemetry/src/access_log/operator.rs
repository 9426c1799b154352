//! Command operators: from their name and argument to what they write.

use std::str::FromStr as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::field::{self, Field, FieldKind};
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
    /// A moment of the certificate's validity.
    Validity(Validity, TimeFormat),
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
    /// A query parameter.
    QueryParameter(String),
    /// The gRPC status.
    GrpcStatus(GrpcForm),
    /// The time between two moments.
    Between(Moment, Moment, Unit),
    /// A value from some metadata.
    Metadata(MetadataSource, Vec<String>),
    /// The same for every stream.
    Constant(String),
    /// Something that no stream has here.
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

#[derive(Clone, Copy, Debug)]
pub(super) enum Validity {
    PeerStart,
    PeerEnd,
}

/// A moment in a stream's life that the record knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    Start,
    RequestDone,
    RequestSent,
    ResponseStarted,
    ResponseDone,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

impl Operator {
    /// Compiles `%NAME(argument)%`.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, OperatorError> {
        if let Some(field) = field::find(name) {
            return match argument {
                None | Some("") => Ok(Self::Field(field)),
                Some(_) => Err(argument_error("it takes no argument")),
            };
        }
        let required = || argument.ok_or_else(|| argument_error("it needs an argument"));
        let time = || match argument {
            None | Some("") => Ok(TimeFormat::iso()),
            Some(format) => TimeFormat::parse(format)
                .map_err(|unknown| argument_error(format!("unknown time conversion {unknown}"))),
        };
        Ok(match name {
            "START_TIME" => Self::StartTime(time()?),
            "EMIT_TIME" => Self::EmitTime(time()?),
            "FILTER_STATE" => filter_state(required()?)?,
            "DOWNSTREAM_PEER_CERT_V_START" => Self::Validity(Validity::PeerStart, time()?),
            "DOWNSTREAM_PEER_CERT_V_END" => Self::Validity(Validity::PeerEnd, time()?),
            "REQ" => Self::Request(choices(required()?, request_header)?),
            "REQ_WITHOUT_QUERY" => Self::RequestWithoutQuery(choices(required()?, request_header)?),
            "RESP" => Self::Response(choices(required()?, response_header)?),
            "TRAILER" => Self::Trailer(choices(required()?, header_name)?),
            "PATH" => path(argument.unwrap_or_default())?,
            "QUERY_PARAM" => Self::QueryParameter(required()?.to_owned()),
            "GRPC_STATUS" => Self::GrpcStatus(grpc_form(argument.unwrap_or("CAMEL_STRING"))?),
            "GRPC_STATUS_NUMBER" => Self::GrpcStatus(GrpcForm::Number),
            "COMMON_DURATION" => between(required()?)?,
            "DYNAMIC_METADATA" => metadata(MetadataSource::Dynamic, required()?)?,
            "CLUSTER_METADATA" => metadata(MetadataSource::Cluster, required()?)?,
            "UPSTREAM_METADATA" => metadata(MetadataSource::Host, required()?)?,
            "METADATA" => any_metadata(required()?)?,
            "HOSTNAME" => Self::Constant(hostname()),
            // No upstream filter keeps such state here.
            "UPSTREAM_FILTER_STATE" => Self::Nothing,
            _ => return Err(OperatorError::Unknown),
        })
    }

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
            Self::GrpcStatus(_) => fields.merge(&GrpcStatus::fields()),
            _ => {}
        }
        fields
    }

    /// Appends the value, if there is one.
    pub fn write(&self, record: &StreamRecord<'_>, out: &mut Vec<u8>) -> Found {
        match self {
            Self::Field(field) => write_field(*field, record, out),
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
            Self::Validity(which, format) => {
                let validity = record
                    .connection
                    .tls
                    .as_ref()
                    .and_then(|tls| tls.peer_validity);
                let moment = validity.map(|(start, end)| match which {
                    Validity::PeerStart => start,
                    Validity::PeerEnd => end,
                });
                let Some(seconds) = moment.and_then(|moment| u64::try_from(moment).ok()) else {
                    return Found::Nothing;
                };
                format.write(Duration::from_secs(seconds), out);
                Found::Text
            }
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
            Self::Response(choices) => {
                let status = record.response_code;
                for choice in choices {
                    let found = match choice {
                        ResponseHeader::Status => json_number(out, status.map(u64::from)),
                        ResponseHeader::Name(name) => some(out, get(record.response_headers, name)),
                    };
                    if found != Found::Nothing {
                        return Found::Text;
                    }
                }
                Found::Nothing
            }
            Self::Trailer(names) => some(
                out,
                names
                    .iter()
                    .find_map(|name| get(record.response_trailers, name)),
            ),
            Self::Path { query, source } => some(out, path_of(record, *query, *source)),
            Self::QueryParameter(name) => some(out, query_parameter(record, name)),
            Self::GrpcStatus(form) => match GrpcStatus::of(record) {
                None => Found::Nothing,
                Some(status) => match form {
                    GrpcForm::Number => json_number(out, Some(status.0.into())),
                    GrpcForm::Camel => some(out, Some(status.camel().as_bytes())),
                    GrpcForm::Snake => some(out, Some(status.snake().as_bytes())),
                },
            },
            Self::Between(from, to, unit) => {
                json_number(out, between_value(record, *from, *to, *unit))
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

fn write_field(field: Field, record: &StreamRecord<'_>, out: &mut Vec<u8>) -> Found {
    match field.0 {
        FieldKind::Number(get) => json_number(out, get(record)),
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
    fn of(self, record: &StreamRecord<'_>) -> Option<Duration> {
        match self {
            Self::Start => Some(Duration::ZERO),
            Self::RequestDone => record.request_done,
            Self::RequestSent => record.request_sent,
            Self::ResponseStarted => record.response_started,
            Self::ResponseDone => record.response_done,
        }
    }
}

fn between_value(record: &StreamRecord<'_>, from: Moment, to: Moment, unit: Unit) -> Option<u64> {
    let time = to.of(record)?.checked_sub(from.of(record)?)?;
    let whole = match unit {
        Unit::Milliseconds => time.as_millis(),
        Unit::Microseconds => time.as_micros(),
        Unit::Nanoseconds => time.as_nanos(),
    };
    Some(u64::try_from(whole).unwrap_or(u64::MAX))
}

fn path_of<'a>(record: &StreamRecord<'a>, query: bool, source: PathSource) -> Option<&'a [u8]> {
    let request = record.request.as_ref()?;
    let original = || get(Some(request.headers), &ORIGINAL_PATH);
    let current = || Some(request.path.as_bytes());
    let whole = match source {
        PathSource::Current => current(),
        PathSource::Original => original(),
        PathSource::OriginalOrCurrent => original().or_else(current),
    }?;
    if query {
        return Some(whole);
    }
    whole.split(|byte| *byte == b'?').next()
}

fn query_parameter<'a>(record: &StreamRecord<'a>, name: &str) -> Option<&'a [u8]> {
    let (_, query) = record.request.as_ref()?.path.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value.as_bytes())
    })
}

fn argument_error(why: impl Into<String>) -> OperatorError {
    OperatorError::Argument(why.into())
}

/// `A?B`: what is read, and what in its place where it is absent.
fn choices<T>(
    argument: &str,
    read: impl Fn(&str) -> Result<T, OperatorError>,
) -> Result<Vec<T>, OperatorError> {
    let parts: Vec<_> = argument.split('?').collect();
    if parts.len() > 2 {
        return Err(argument_error("more than one alternative"));
    }
    parts.into_iter().map(read).collect()
}

fn request_header(name: &str) -> Result<RequestHeader, OperatorError> {
    Ok(match name.to_ascii_lowercase().as_str() {
        ":method" => RequestHeader::Method,
        ":scheme" => RequestHeader::Scheme,
        ":authority" | "host" => RequestHeader::Authority,
        ":path" => RequestHeader::Path,
        other => RequestHeader::Name(header_name(other)?),
    })
}

fn response_header(name: &str) -> Result<ResponseHeader, OperatorError> {
    if name.eq_ignore_ascii_case(":status") {
        return Ok(ResponseHeader::Status);
    }
    Ok(ResponseHeader::Name(header_name(name)?))
}

fn header_name(name: &str) -> Result<HeaderName, OperatorError> {
    HeaderName::from_str(name).map_err(|_| argument_error(format!("{name:?} is no header name")))
}

fn path(argument: &str) -> Result<Operator, OperatorError> {
    let (query, source) = argument.split_once(':').unwrap_or((argument, ""));
    let query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(argument_error(format!("{other:?} is neither WQ nor NQ"))),
    };
    let source = match source {
        "" | "ORIG_OR_PATH" => PathSource::OriginalOrCurrent,
        "PATH" => PathSource::Current,
        "ORIG" => PathSource::Original,
        other => {
            let why = format!("{other:?} is none of ORIG, PATH and ORIG_OR_PATH");
            return Err(argument_error(why));
        }
    };
    Ok(Operator::Path { query, source })
}

/// `KEY:PLAIN`, `KEY:TYPED` or `KEY`; text is all that there is.
fn filter_state(argument: &str) -> Result<Operator, OperatorError> {
    let (key, form) = argument.split_once(':').unwrap_or((argument, "TYPED"));
    if key.is_empty() {
        return Err(argument_error("an empty key"));
    }
    match form {
        "PLAIN" | "TYPED" => Ok(Operator::FilterState(key.to_owned())),
        other => Err(argument_error(format!(
            "{other:?} is neither PLAIN nor TYPED"
        ))),
    }
}

fn grpc_form(argument: &str) -> Result<GrpcForm, OperatorError> {
    Ok(match argument {
        "CAMEL_STRING" | "" => GrpcForm::Camel,
        "SNAKE_STRING" => GrpcForm::Snake,
        "NUMBER" => GrpcForm::Number,
        other => {
            let why = format!("{other:?} is none of CAMEL_STRING, SNAKE_STRING and NUMBER");
            return Err(argument_error(why));
        }
    })
}

fn between(argument: &str) -> Result<Operator, OperatorError> {
    let moment = |name: &str| {
        Ok(match name {
            "DS_RX_BEG" => Moment::Start,
            "DS_RX_END" => Moment::RequestDone,
            "US_TX_END" => Moment::RequestSent,
            "US_RX_BEG" => Moment::ResponseStarted,
            "DS_TX_END" => Moment::ResponseDone,
            other => return Err(argument_error(format!("time point {other:?} is not kept"))),
        })
    };
    let parts: Vec<_> = argument.split(':').collect();
    let (from, to, unit) = match parts.as_slice() {
        [from, to] => (from, to, "ms"),
        [from, to, unit] => (from, to, *unit),
        _ => return Err(argument_error("it needs START:END:PRECISION")),
    };
    let unit = match unit {
        "ms" => Unit::Milliseconds,
        "us" => Unit::Microseconds,
        "ns" => Unit::Nanoseconds,
        other => {
            return Err(argument_error(format!(
                "{other:?} is none of ms, us and ns"
            )));
        }
    };
    Ok(Operator::Between(moment(from)?, moment(to)?, unit))
}

fn metadata(source: MetadataSource, argument: &str) -> Result<Operator, OperatorError> {
    let path: Vec<_> = argument.split(':').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(argument_error("an empty metadata key"));
    }
    Ok(Operator::Metadata(source, path))
}

fn any_metadata(argument: &str) -> Result<Operator, OperatorError> {
    let (source, path) = argument
        .split_once(':')
        .ok_or_else(|| argument_error("it needs TYPE:NAMESPACE"))?;
    let source = match source {
        "DYNAMIC" => MetadataSource::Dynamic,
        "CLUSTER" => MetadataSource::Cluster,
        "UPSTREAM_HOST" => MetadataSource::Host,
        "ROUTE" => MetadataSource::Route,
        other => return Err(argument_error(format!("metadata of {other:?} is not kept"))),
    };
    metadata(source, path)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}
