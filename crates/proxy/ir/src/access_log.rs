//! Access logs as configured; `meltemi-telemetry` compiles the format and writes the lines.

use std::path::PathBuf;

use crate::Value;

/// One access log (`envoy.config.accesslog.v3.AccessLog`).
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: LogSink,
    /// What a line says.
    pub format: LogFormat,
    /// Which requests or connections are logged; none means all.
    pub filter: Option<AccessLogFilter>,
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
    /// A JSON object whose leaves are formats.
    Json(Value),
}

/// Which requests are logged. Kinds beyond these are refused for now.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogFilter {
    /// Only where one of these response flags is set; empty means any flag.
    ResponseFlags(Vec<String>),
    /// Requests whose route was not health checked.
    NotHealthCheck,
}
