//! Which requests and connections are logged, and which answers of the proxy's own are reworded.

use http::HeaderName;
use meltemi_ir::{AccessLogFilter, Comparison, HeaderMatch, LogType, MatchedHeader};

use super::AccessLogError;
use super::expression::Expression;
use crate::{GrpcStatus, RecordFields, ResponseFlags, StreamRecord};

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct LogFilter(Filter);

#[derive(Clone, Debug)]
enum Filter {
    All,
    AnyFlag,
    Flags(ResponseFlags),
    Plain(AccessLogFilter),
    Expression(Expression),
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl LogFilter {
    /// Compiles a filter; none lets everything pass.
    ///
    /// # Errors
    /// When it names a response flag that does not exist.
    pub fn new(config: Option<&AccessLogFilter>) -> Result<Self, AccessLogError> {
        match config {
            None => Ok(Self(Filter::All)),
            Some(config) => Filter::new(config).map(Self),
        }
    }

    /// Whether a record passes.
    pub fn passes(&self, record: &StreamRecord<'_>) -> bool {
        self.0.passes(record)
    }

    /// The headers that a record must hold.
    pub fn fields(&self) -> RecordFields {
        let mut fields = RecordFields::default();
        self.0.collect(&mut fields);
        fields
    }
}

impl Filter {
    fn new(config: &AccessLogFilter) -> Result<Self, AccessLogError> {
        let all = |filters: &[AccessLogFilter]| {
            let filters = filters.iter().map(Self::new);
            filters.collect::<Result<Vec<_>, _>>()
        };
        Ok(match config {
            AccessLogFilter::ResponseFlags(names) if names.is_empty() => Self::AnyFlag,
            AccessLogFilter::ResponseFlags(names) => {
                let mut flags = ResponseFlags::NONE;
                for name in names {
                    flags |= ResponseFlags::from_short(name)
                        .ok_or_else(|| AccessLogError::UnknownFlag(name.clone()))?;
                }
                Self::Flags(flags)
            }
            AccessLogFilter::Expression(text) => {
                Self::Expression(Expression::new(text).map_err(AccessLogError::Expression)?)
            }
            AccessLogFilter::And(filters) => Self::And(all(filters)?),
            AccessLogFilter::Or(filters) => Self::Or(all(filters)?),
            plain => Self::Plain(plain.clone()),
        })
    }

    fn passes(&self, record: &StreamRecord<'_>) -> bool {
        match self {
            Self::All => true,
            Self::AnyFlag => !record.flags.is_empty(),
            Self::Flags(flags) => record.flags.intersects(*flags),
            Self::Expression(expression) => expression.passes(record),
            Self::And(filters) => filters.iter().all(|filter| filter.passes(record)),
            Self::Or(filters) => filters.iter().any(|filter| filter.passes(record)),
            Self::Plain(plain) => passes(plain, record),
        }
    }

    fn collect(&self, fields: &mut RecordFields) {
        match self {
            Self::And(filters) | Self::Or(filters) => {
                filters.iter().for_each(|filter| filter.collect(fields));
            }
            Self::Plain(AccessLogFilter::Header(matcher)) => {
                if let MatchedHeader::Name(name) = &matcher.name {
                    fields.request_headers.push(name.clone());
                }
            }
            Self::Plain(AccessLogFilter::Share { .. }) => fields.request_headers.push(REQUEST_ID),
            Self::Plain(AccessLogFilter::GrpcStatus { .. }) => fields.merge(&GrpcStatus::fields()),
            Self::Expression(expression) => fields.merge(&expression.fields()),
            Self::All | Self::AnyFlag | Self::Flags(_) | Self::Plain(_) => {}
        }
    }
}

fn passes(filter: &AccessLogFilter, record: &StreamRecord<'_>) -> bool {
    match filter {
        AccessLogFilter::NotHealthCheck => !record.health_check,
        AccessLogFilter::Status(comparison) => {
            compares(*comparison, record.response_code.unwrap_or(0).into())
        }
        AccessLogFilter::Duration(comparison) => record.duration.is_some_and(|duration| {
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            compares(*comparison, millis)
        }),
        AccessLogFilter::Header(matcher) => header_matches(matcher, record),
        AccessLogFilter::Share {
            per_million,
            independent,
        } => {
            let number = match request_id(record) {
                Some(number) if !independent => number,
                _ => record.stream_id,
            };
            number % 1_000_000 < u64::from(*per_million)
        }
        AccessLogFilter::GrpcStatus { statuses, exclude } => {
            let status = GrpcStatus::of(record).map_or(2, |status| status.0);
            statuses.contains(&status) != *exclude
        }
        AccessLogFilter::Metadata {
            matcher,
            match_if_missing,
        } => match matcher {
            None => *match_if_missing,
            Some(matcher) => {
                let metadata = record.dynamic_metadata;
                let there = metadata.and_then(|metadata| metadata.at(&matcher.path));
                match there {
                    None => *match_if_missing,
                    Some(_) => matcher.matches(metadata),
                }
            }
        },
        AccessLogFilter::LogType { types, exclude } => {
            let own = match record.log_type {
                Some("TcpUpstreamConnected") => LogType::TcpUpstreamConnected,
                Some("TcpPeriodic") => LogType::TcpPeriodic,
                Some("TcpConnectionStart") => LogType::TcpConnectionStart,
                Some("DownstreamStart") => LogType::DownstreamStart,
                Some("DownstreamPeriodic") => LogType::DownstreamPeriodic,
                Some("DownstreamTunnelSuccessfullyEstablished") => {
                    LogType::DownstreamTunnelSuccessfullyEstablished
                }
                Some(_) => LogType::Other,
                None if record.protocol.is_some() => LogType::DownstreamEnd,
                None => LogType::TcpConnectionEnd,
            };
            types.contains(&own) != *exclude
        }
        // Compiled to something else.
        AccessLogFilter::ResponseFlags(_)
        | AccessLogFilter::Expression(_)
        | AccessLogFilter::And(_)
        | AccessLogFilter::Or(_) => true,
    }
}

fn compares(comparison: Comparison, value: u64) -> bool {
    match comparison {
        Comparison::Equal(wanted) => value == wanted,
        Comparison::AtLeast(wanted) => value >= wanted,
        Comparison::AtMost(wanted) => value <= wanted,
        Comparison::Not(wanted) => value != wanted,
    }
}

fn header_matches(matcher: &HeaderMatch, record: &StreamRecord<'_>) -> bool {
    matcher.decide(|fits| {
        let request = record.request.as_ref()?;
        let pseudo = |text: &str| Some(fits(text.as_bytes()));
        match &matcher.name {
            MatchedHeader::Authority => pseudo(request.authority),
            MatchedHeader::Method => pseudo(request.method),
            MatchedHeader::Path => pseudo(request.path),
            MatchedHeader::Scheme => pseudo(request.scheme),
            MatchedHeader::Name(name) => {
                let mut values = request.headers.get_all(name).iter().peekable();
                values.peek()?;
                Some(values.any(|value| fits(value.as_bytes())))
            }
        }
    })
}

/// A number that all proxies make of the request's id, so that they sample the same requests.
fn request_id(record: &StreamRecord<'_>) -> Option<u64> {
    let id = record.request.as_ref()?.headers.get(REQUEST_ID)?;
    u64::from_str_radix(id.to_str().ok()?.get(..8)?, 16).ok()
}
