//! Command operators from their text.

use std::str::FromStr as _;

use http::HeaderName;
use serde_json::Value;

use super::{
    GrpcForm, Limited, Moment, Operator, OperatorError, PathSource, Peer, RequestHeader,
    ResponseHeader, Unit, Validity,
};
use crate::access_log::expression::Expression;
use crate::access_log::field;
use crate::access_log::metadata::MetadataSource;
use crate::access_log::time::TimeFormat;

impl Operator {
    /// Compiles `%NAME(argument)%`.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, OperatorError> {
        if let Some(field) = field::find(name) {
            return match argument {
                None | Some("") => Ok(Self::Field(field)),
                Some(bits) if field.is_address() => match bits.parse::<u8>() {
                    Ok(bits @ 0..=128) => Ok(Self::Masked(field, bits)),
                    Ok(_) | Err(_) => Err(argument_error(format!(
                        "{bits:?} is no number of bits from 0 to 128"
                    ))),
                },
                Some("ALLOW_WHITESPACES") if name == "RESPONSE_CODE_DETAILS" => Ok(Self::Details),
                Some(_) => Err(argument_error("it takes no argument")),
            };
        }
        let required = || argument.ok_or_else(|| argument_error("it needs an argument"));
        let time = || match argument {
            None | Some("") => Ok(TimeFormat::iso()),
            Some(format) => TimeFormat::parse(format)
                .map_err(|unknown| argument_error(format!("unknown time conversion {unknown}"))),
        };
        let validity = |peer, which| Ok(Self::Validity(peer, which, time()?));
        Ok(match name {
            "START_TIME" => Self::StartTime(time()?),
            "EMIT_TIME" => Self::EmitTime(time()?),
            "START_TIME_LOCAL" => Self::StartTime(time()?.local()),
            "EMIT_TIME_LOCAL" => Self::EmitTime(time()?.local()),
            "CEL" => expression(required()?, false)?,
            "TYPED_CEL" => expression(required()?, true)?,
            "XFCC_VALUE" => Self::ClientCertificate(required()?.to_owned()),
            "FILTER_STATE" => filter_state(required()?)?,
            "DOWNSTREAM_PEER_CERT_V_START" => validity(Peer::Downstream, Validity::Start)?,
            "DOWNSTREAM_PEER_CERT_V_END" => validity(Peer::Downstream, Validity::End)?,
            "UPSTREAM_PEER_CERT_V_START" => validity(Peer::Upstream, Validity::Start)?,
            "UPSTREAM_PEER_CERT_V_END" => validity(Peer::Upstream, Validity::End)?,
            "REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ" => {
                Self::Request(choices(required()?, request_header)?)
            }
            "REQ_WITHOUT_QUERY" => Self::RequestWithoutQuery(choices(required()?, request_header)?),
            "RESP" | "RESPONSE_HEADER" => Self::Response(choices(required()?, response_header)?),
            "TRAILER" | "RESPONSE_TRAILER" => Self::Trailer(choices(required()?, header_name)?),
            "PATH" => path(argument.unwrap_or_default())?,
            "QUERY_PARAM" => Self::QueryParameter(required()?.to_owned()),
            "QUERY_PARAMS" => query(argument.unwrap_or_default())?,
            "GRPC_STATUS" => Self::GrpcStatus(grpc_form(argument.unwrap_or("CAMEL_STRING"))?),
            "GRPC_STATUS_NUMBER" => Self::GrpcStatus(GrpcForm::Number),
            "COMMON_DURATION" => between(required()?)?,
            "DYNAMIC_METADATA" => metadata(MetadataSource::Dynamic, required()?)?,
            "CLUSTER_METADATA" => metadata(MetadataSource::Cluster, required()?)?,
            "UPSTREAM_METADATA" => metadata(MetadataSource::Host, required()?)?,
            "METADATA" => any_metadata(required()?)?,
            "HOSTNAME" => Self::Constant(hostname()),
            "ENVIRONMENT" => Self::Constant(environment(required()?)?),
            "COALESCE" => coalesce(required()?)?,
            // No upstream filter keeps such state here.
            "UPSTREAM_FILTER_STATE" => Self::Nothing,
            _ => return Err(OperatorError::Unknown),
        })
    }

    /// Whether only so many bytes of it may be asked for (`:10`), as Envoy has it.
    pub fn may_be_limited(&self) -> bool {
        match self {
            Self::FilterState(_)
            | Self::Request(_)
            | Self::RequestWithoutQuery(_)
            | Self::Response(_)
            | Self::Trailer(_)
            | Self::Path { .. }
            | Self::QueryParameter(_)
            | Self::Query { .. }
            | Self::Metadata(..)
            | Self::Constant(_)
            | Self::Coalesce(_)
            | Self::Expression { .. }
            | Self::ClientCertificate(_)
            | Self::Nothing => true,
            Self::Field(_)
            | Self::Masked(..)
            | Self::StartTime(_)
            | Self::EmitTime(_)
            | Self::Validity(..)
            | Self::GrpcStatus(_)
            | Self::Details
            | Self::Between(..) => false,
        }
    }
}

fn expression(text: &str, typed: bool) -> Result<Operator, OperatorError> {
    let expression = Expression::new(text).map_err(argument_error)?;
    Ok(Operator::Expression { expression, typed })
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
        // Text has no fields.
        "FIELD" => Ok(Operator::Nothing),
        _ if form.starts_with("FIELD:") => Ok(Operator::Nothing),
        "PLAIN" | "TYPED" => Ok(Operator::FilterState(key.to_owned())),
        other => Err(argument_error(format!(
            "{other:?} is none of PLAIN, TYPED and FIELD:NAME"
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
        match name {
            "DS_RX_BEG" => Moment::Start,
            "DS_RX_END" => Moment::RequestDone,
            "US_CX_BEG" => Moment::ConnectStarted,
            "US_CX_END" => Moment::Connected,
            "US_HS_END" => Moment::Secured,
            "US_TX_BEG" => Moment::RequestStarted,
            "US_TX_END" => Moment::RequestSent,
            "US_RX_BEG" => Moment::ResponseStarted,
            "US_RX_BODY_BEG" => Moment::BodyStarted,
            "DS_HS_BEG" => Moment::HandshakeStarted,
            "DS_HS_END" => Moment::HandshakeDone,
            "US_RX_END" => Moment::ResponseReceived,
            "DS_TX_BEG" => Moment::AnswerStarted,
            "DS_TX_END" => Moment::ResponseDone,
            // A name that extensions may set, of which there is none here.
            _ => Moment::Never,
        }
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
    Ok(Operator::Between(moment(from), moment(to), unit))
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
        "VIRTUAL_HOST" => MetadataSource::VirtualHost,
        "LISTENER" => MetadataSource::Listener,
        "LISTENER_FILTER_CHAIN" => MetadataSource::FilterChain,
        other => return Err(argument_error(format!("metadata of {other:?} is not kept"))),
    };
    metadata(source, path)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// The environment variable of this name, `-` where there is none.
fn environment(name: &str) -> Result<String, OperatorError> {
    if name.is_empty() {
        return Err(argument_error("an empty name"));
    }
    #[allow(
        clippy::disallowed_methods,
        reason = "the format asks for what the process was started with"
    )]
    let value = std::env::var(name);
    Ok(value.unwrap_or_else(|_| "-".to_owned()))
}

fn query(argument: &str) -> Result<Operator, OperatorError> {
    Ok(Operator::Query {
        decoded: match argument {
            "" | "ORIG" => false,
            "DECODED" => true,
            other => {
                let why = format!("{other:?} is neither ORIG nor DECODED");
                return Err(argument_error(why));
            }
        },
    })
}

/// `{"operators": ["NAME", {"command": "REQ", "param": "x", "max_length": 3}]}`.
fn coalesce(argument: &str) -> Result<Operator, OperatorError> {
    let read: Value = serde_json::from_str(argument)
        .map_err(|error| argument_error(format!("it needs an object in JSON: {error}")))?;
    let operators = read.get("operators").and_then(Value::as_array);
    let operators = operators.filter(|operators| !operators.is_empty());
    let operators = operators.ok_or_else(|| argument_error("it needs \"operators\""))?;
    let one = |value: &Value| {
        let (command, parameter, limit) = match value {
            Value::String(command) => (command.as_str(), None, None),
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                let limit = fields.get("max_length").and_then(Value::as_u64);
                let command = text("command");
                let command = command.ok_or_else(|| argument_error("it needs \"command\""))?;
                (command, text("param"), limit)
            }
            _ => return Err(argument_error("an operator is a name or an object")),
        };
        Ok(Limited {
            operator: Operator::parse(command, parameter).map_err(|error| match error {
                OperatorError::Unknown => argument_error(format!("unknown operator {command}")),
                OperatorError::Argument(why) => argument_error(format!("{command}: {why}")),
            })?,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        })
    };
    let operators = operators.iter().map(one).collect::<Result<_, _>>()?;
    Ok(Operator::Coalesce(operators))
}
