//! Access logs as configured; `meltemi-telemetry` compiles the format and writes the lines.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::{GrpcTarget, HeaderMatch, MetadataMatch, Value};

/// One access log (`envoy.config.accesslog.v3.AccessLog`).
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// What is written, and where it goes.
    pub output: LogOutput,
    /// Which requests or connections are logged; none means all.
    pub filter: Option<AccessLogFilter>,
}

/// What is written, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub enum LogOutput {
    /// Lines of text.
    Lines {
        /// Where they go.
        sink: LogSink,
        /// What a line says.
        format: LogFormat,
    },
    /// Messages to a service.
    Service(Arc<LogService>),
}

/// A service that takes logs over gRPC (`CommonGrpcAccessLogConfig`).
#[derive(Clone, Debug, PartialEq)]
pub struct LogService {
    /// Where it is.
    pub target: GrpcTarget,
    /// The log's name.
    pub name: String,
    /// How long an entry waits for others, 1 s unless set.
    pub flush_interval: Duration,
    /// So many bytes wait for no others, 16 KiB unless set.
    pub buffer_size: u32,
    /// What an entry is.
    pub entries: LogEntries,
}

/// What an entry of a log service is.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntries {
    /// A request, for `envoy.service.accesslog.v3.AccessLogService`.
    Http {
        /// Headers of the request that are told besides the usual ones.
        request_headers: Vec<HeaderName>,
        /// Headers of the response that are told.
        response_headers: Vec<HeaderName>,
        /// Trailers of the response that are told.
        response_trailers: Vec<HeaderName>,
    },
    /// A TCP connection, for the same.
    Tcp,
    /// A record of OpenTelemetry's logs.
    OpenTelemetry {
        /// What it says; its texts are formats.
        body: Option<Value>,
        /// Its attributes, whose texts are formats.
        attributes: Vec<(String, Value)>,
        /// Attributes of where it comes from.
        resource: Vec<(String, Value)>,
        /// These name the log and the node besides.
        names_node: bool,
    },
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogSink {
    /// A file, opened for appending (`FileAccessLog`).
    File(PathBuf),
    /// Standard output (`StdoutAccessLog`, or the path `/dev/stdout`).
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    /// Envoy's default text format.
    Default,
    /// A text format with command operators such as `%RESPONSE_CODE%`.
    Text(String),
    /// The same, in which what is not there leaves nothing (`omit_empty_values`).
    SparseText(String),
    /// A JSON object whose leaves are formats.
    Json(Value),
    /// The same, without members that are not there (`omit_empty_values`).
    SparseJson(Value),
}

/// Which requests and connections are logged.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogFilter {
    /// Only where one of these response flags is set; empty means any flag.
    ResponseFlags(Vec<String>),
    /// Requests whose route was not health checked.
    NotHealthCheck,
    /// By the response's status; 0 where there is none.
    Status(Comparison),
    /// By the duration in milliseconds.
    Duration(Comparison),
    /// By a header of the request.
    Header(HeaderMatch),
    /// Only a share.
    Share {
        /// In parts of a million.
        per_million: u32,
        /// By chance, rather than by the request's id.
        independent: bool,
    },
    /// Where all of these hold.
    And(Vec<AccessLogFilter>),
    /// Where one of these holds.
    Or(Vec<AccessLogFilter>),
    /// By the gRPC status.
    GrpcStatus {
        /// These.
        statuses: Vec<u32>,
        /// All but these.
        exclude: bool,
    },
    /// By metadata that filters wrote.
    Metadata {
        /// What is asked of it.
        matcher: Option<MetadataMatch>,
        /// What holds where it is not there.
        match_if_missing: bool,
    },
    /// Where an expression in CEL is true.
    Expression(String),
    /// By what is logged.
    LogType {
        /// These.
        types: Vec<LogType>,
        /// All but these.
        exclude: bool,
    },
}

/// What a number is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is this.
    Equal(u64),
    /// It is this or more.
    AtLeast(u64),
    /// It is this or less.
    AtMost(u64),
    /// It is not this.
    Not(u64),
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogType {
    /// A finished request.
    DownstreamEnd,
    /// A finished TCP connection.
    TcpConnectionEnd,
    /// A TCP connection whose upstream is connected.
    TcpUpstreamConnected,
    /// A TCP connection in progress.
    TcpPeriodic,
    /// A TCP connection that begins.
    TcpConnectionStart,
    /// A request that begins.
    DownstreamStart,
    /// A request in progress.
    DownstreamPeriodic,
    /// A request that became a tunnel.
    DownstreamTunnelSuccessfullyEstablished,
    /// Something that this proxy does not log.
    Other,
}
