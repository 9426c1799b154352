//! The gRPC status of a response, for log lines and metrics.

use http::{HeaderMap, HeaderName, header};

use crate::{RecordFields, StreamRecord};

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcStatus(pub u32);

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Names in camel case and in capitals.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

impl GrpcStatus {
    /// The status of a gRPC call: from the trailers, the headers, or else what the HTTP status
    /// means. None where the request is no gRPC call or nothing says a status.
    pub fn of(record: &StreamRecord<'_>) -> Option<Self> {
        if !Self::is_call(record) {
            return None;
        }
        Self::read(record.response_trailers)
            .or_else(|| Self::read(record.response_headers))
            .or_else(|| record.response_code.map(Self::from_http))
    }

    /// Whether the request is a gRPC call, by its content type.
    pub fn is_call(record: &StreamRecord<'_>) -> bool {
        let request = record.request.as_ref();
        let kind = request.and_then(|request| request.headers.get(header::CONTENT_TYPE));
        kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    /// The headers that this reads.
    pub fn fields() -> RecordFields {
        RecordFields {
            request_headers: vec![header::CONTENT_TYPE],
            response_headers: vec![STATUS],
            response_trailers: vec![STATUS],
            ..RecordFields::default()
        }
    }

    /// Such as `DeadlineExceeded`; the number where it has no name.
    pub fn camel(self) -> String {
        self.name()
            .map_or_else(|| self.0.to_string(), |(camel, _)| (*camel).to_owned())
    }

    /// Such as `DEADLINE_EXCEEDED`; the number where it has no name.
    pub fn snake(self) -> String {
        self.name()
            .map_or_else(|| self.0.to_string(), |(_, snake)| (*snake).to_owned())
    }

    fn name(self) -> Option<&'static (&'static str, &'static str)> {
        NAMES.get(usize::try_from(self.0).ok()?)
    }

    fn read(headers: Option<&HeaderMap>) -> Option<Self> {
        headers?.get(STATUS)?.to_str().ok()?.parse().ok().map(Self)
    }

    fn from_http(status: u16) -> Self {
        Self(match status {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    }
}
