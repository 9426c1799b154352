//! The workload's settings: environment variables enter through a lookup, a checked [`Config`]
//! leaves.
//!
//! Called by the binary, which alone reads the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use serde_json::Value;

use crate::fault::{ErrorType, FaultConfig};
use crate::proxy::ProxySettings;
use crate::timing::{Timing, Variance};
use crate::upstream::{UpstreamRoute, UpstreamUri};

mod lookup;

use lookup::Lookup;

/// A workload's settings.
///
/// The variables of the fake-service image are read as documented there: `LISTEN_ADDR`, `NAME`,
/// `MESSAGE` (text or JSON), `SERVER_TYPE` (`http`), `UPSTREAM_URIS`, `UPSTREAM_WORKERS`,
/// `UPSTREAM_REQUEST_BODY`, `UPSTREAM_REQUEST_SIZE`, `UPSTREAM_REQUEST_VARIANCE`,
/// `HTTP_CLIENT_REQUEST_TIMEOUT`, `HTTP_CLIENT_APPEND_REQUEST`, `TIMING_50_PERCENTILE`,
/// `TIMING_90_PERCENTILE`, `TIMING_99_PERCENTILE`, `TIMING_VARIANCE` (a percentage, or a duration
/// as many manifests have it), `ERROR_RATE`, `ERROR_TYPE`, `ERROR_CODE`, `ERROR_DELAY`,
/// `RATE_LIMIT`, `RATE_LIMIT_CODE`, `HEALTH_CHECK_RESPONSE_CODE`, `READY_CHECK_RESPONSE_DELAY`,
/// `READY_CHECK_RESPONSE_SUCCESS_CODE`, `READY_CHECK_RESPONSE_FAILURE_CODE`,
/// `READY_CHECK_ROOT_PATH_WAIT_TILL_READY`, `RAND_SEED`; `HTTP_CLIENT_KEEP_ALIVES` and
/// `HTTP_SERVER_KEEP_ALIVES` too, but they default to true here, since a workload beside a proxy
/// has no use for a connection per request.
///
/// Of this project: `UPSTREAM_ROUTES` (`/path=http://host/path`, comma separated: paths that call
/// an upstream of their own), `FORWARD_HEADERS` (names of headers that upstream calls inherit, in
/// addition to trace headers), `VERSION`, `POD_NAME`, and `INSTANCE_IP` or `POD_IP` (shown in the
/// answer). As everywhere: `http_proxy`, `HTTP_PROXY`, `no_proxy`, `NO_PROXY`.
///
/// All other variables are ignored, the environment being shared.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) message: Value,
    pub(crate) upstreams: Vec<UpstreamUri>,
    pub(crate) routes: Vec<UpstreamRoute>,
    pub(crate) workers: NonZeroUsize,
    pub(crate) request_body: RequestBody,
    pub(crate) proxy: ProxySettings,
    pub(crate) append_request: bool,
    pub(crate) forward_headers: Vec<HeaderName>,
    pub(crate) client_keep_alive: bool,
    pub(crate) server_keep_alive: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) timing: Timing,
    pub(crate) faults: FaultConfig,
    pub(crate) health_code: StatusCode,
    pub(crate) ready: ReadyConfig,
    pub(crate) seed: Option<u64>,
}

/// The body sent with upstream calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestBody {
    Empty,
    Fixed(Bytes),
    /// Random letters, `size` of them give or take a percentage.
    Random {
        size: usize,
        variance_percent: u32,
    },
}

/// The answer of `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadyConfig {
    pub(crate) delay: Duration,
    pub(crate) success_code: StatusCode,
    pub(crate) failure_code: StatusCode,
    /// Whether the service itself is unavailable until then.
    pub(crate) service_waits: bool,
}

/// A variable that the workload cannot go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable}: {value:?} is {problem}")]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Config {
    /// Reads the settings through `lookup`, which returns a variable's value.
    ///
    /// # Errors
    /// When a variable holds what it must not, or asks for what is not supported (gRPC, TLS).
    pub fn from_lookup<F>(lookup: F) -> Result<Self, ConfigError>
    where
        F: Fn(&str) -> Option<String>,
    {
        let env = Lookup::new(&lookup);
        reject_unsupported(&env)?;
        Ok(Self {
            listen: listen(&env)?,
            name: env.text("NAME").unwrap_or_else(|| "Service".to_owned()),
            version: env.text("VERSION"),
            instance: env.text("POD_NAME"),
            address: match env.optional("INSTANCE_IP", "no IP address")? {
                None => env.optional("POD_IP", "no IP address")?,
                address => address,
            },
            message: message(
                env.text("MESSAGE")
                    .unwrap_or_else(|| "Hello World".to_owned()),
            ),
            upstreams: env.list("UPSTREAM_URIS", UpstreamUri::parse)?,
            routes: routes(&env)?,
            workers: env.parsed("UPSTREAM_WORKERS", NonZeroUsize::MIN, "no positive number")?,
            request_body: request_body(&env)?,
            proxy: proxy(&env)?,
            append_request: env.flag("HTTP_CLIENT_APPEND_REQUEST", true)?,
            forward_headers: env.list("FORWARD_HEADERS", |name| {
                name.parse().map_err(|_| "no list of header names")
            })?,
            client_keep_alive: env.flag("HTTP_CLIENT_KEEP_ALIVES", true)?,
            server_keep_alive: env.flag("HTTP_SERVER_KEEP_ALIVES", true)?,
            request_timeout: env
                .duration("HTTP_CLIENT_REQUEST_TIMEOUT", Duration::from_secs(30))?,
            timing: timing(&env)?,
            faults: faults(&env)?,
            health_code: env.status("HEALTH_CHECK_RESPONSE_CODE", StatusCode::OK)?,
            ready: ready(&env)?,
            seed: env.optional("RAND_SEED", "no number")?,
        })
    }

    /// The addresses of `LISTEN_ADDR` (by default `0.0.0.0:9090`).
    #[must_use]
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn reject_unsupported(env: &Lookup<'_>) -> Result<(), ConfigError> {
    match env.text("SERVER_TYPE").as_deref() {
        None | Some("http") => {}
        Some("grpc") => {
            return Err(env.error(
                "SERVER_TYPE",
                "not supported: this workload serves http only",
            ));
        }
        Some(_) => {
            return Err(env.error("SERVER_TYPE", "no server type; http is the one supported"));
        }
    }
    for variable in ["TLS_CERT_LOCATION", "TLS_KEY_LOCATION"] {
        if env.text(variable).is_some() {
            return Err(env.error(variable, "not supported: TLS is the mesh's part"));
        }
    }
    Ok(())
}

fn listen(env: &Lookup<'_>) -> Result<Vec<SocketAddr>, ConfigError> {
    let addresses = env.list("LISTEN_ADDR", |written| {
        let any_host = written
            .strip_prefix(':')
            .map(|port| format!("0.0.0.0:{port}"));
        let local = written
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let address = any_host.or(local).unwrap_or_else(|| written.to_owned());
        address.parse().map_err(|_| "no address with port")
    })?;
    let default = || vec![(Ipv4Addr::UNSPECIFIED, 9090).into()];
    Ok(if addresses.is_empty() {
        default()
    } else {
        addresses
    })
}

/// Text that holds a JSON object or array is JSON; all other text is text.
fn message(text: String) -> Value {
    let structured = text.trim_start().starts_with(['{', '[']);
    let parsed = structured
        .then(|| serde_json::from_str(&text).ok())
        .flatten();
    parsed.unwrap_or(Value::String(text))
}

/// The longest prefix first, so that the first match is the closest.
fn routes(env: &Lookup<'_>) -> Result<Vec<UpstreamRoute>, ConfigError> {
    let mut routes = env.list("UPSTREAM_ROUTES", UpstreamRoute::parse)?;
    routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
    Ok(routes)
}

fn request_body(env: &Lookup<'_>) -> Result<RequestBody, ConfigError> {
    let size = env.parsed("UPSTREAM_REQUEST_SIZE", 0, "no number of bytes")?;
    let variance_percent = env.parsed("UPSTREAM_REQUEST_VARIANCE", 0, "no percentage")?;
    Ok(match env.text("UPSTREAM_REQUEST_BODY") {
        Some(body) => RequestBody::Fixed(body.into()),
        None if size == 0 => RequestBody::Empty,
        None => RequestBody::Random {
            size,
            variance_percent,
        },
    })
}

fn proxy(env: &Lookup<'_>) -> Result<ProxySettings, ConfigError> {
    let either = |names: [&'static str; 2]| names.into_iter().find(|name| env.text(name).is_some());
    let proxy = either(["http_proxy", "HTTP_PROXY"]);
    let exceptions = either(["no_proxy", "NO_PROXY"]).and_then(|name| env.text(name));
    let address = proxy.and_then(|name| env.text(name));
    ProxySettings::parse(address.as_deref(), exceptions.as_deref())
        .map_err(|problem| env.error(proxy.unwrap_or("http_proxy"), problem))
}

fn timing(env: &Lookup<'_>) -> Result<Timing, ConfigError> {
    let percentile = |name| env.duration(name, Duration::ZERO);
    let variance = match env.text("TIMING_VARIANCE") {
        None => Variance::Percent(0),
        Some(text) => match (text.parse(), crate::duration::parse(&text)) {
            (Ok(percent), _) => Variance::Percent(percent),
            (Err(_), Some(most)) => Variance::UpTo(most),
            (Err(_), None) => {
                return Err(env.error("TIMING_VARIANCE", "no percentage and no duration"));
            }
        },
    };
    Ok(Timing::new(
        percentile("TIMING_50_PERCENTILE")?,
        percentile("TIMING_90_PERCENTILE")?,
        percentile("TIMING_99_PERCENTILE")?,
        variance,
    ))
}

fn faults(env: &Lookup<'_>) -> Result<FaultConfig, ConfigError> {
    let error_rate = env.parsed("ERROR_RATE", 0.0, "no number")?;
    if !(0.0..=1.0).contains(&error_rate) {
        return Err(env.error("ERROR_RATE", "no share between 0 and 1"));
    }
    let rate_limit: f64 = env.parsed("RATE_LIMIT", 0.0, "no number of requests per second")?;
    if !rate_limit.is_finite() || rate_limit < 0.0 {
        return Err(env.error("RATE_LIMIT", "no number of requests per second"));
    }
    Ok(FaultConfig {
        error_rate,
        error_type: match env.text("ERROR_TYPE").as_deref() {
            None | Some("http_error") => ErrorType::HttpError,
            Some("delay") => ErrorType::Delay,
            Some(_) => return Err(env.error("ERROR_TYPE", "neither http_error nor delay")),
        },
        error_code: env.status("ERROR_CODE", StatusCode::INTERNAL_SERVER_ERROR)?,
        error_delay: env.duration("ERROR_DELAY", Duration::ZERO)?,
        rate_limit,
        rate_limit_code: env.status("RATE_LIMIT_CODE", StatusCode::SERVICE_UNAVAILABLE)?,
    })
}

fn ready(env: &Lookup<'_>) -> Result<ReadyConfig, ConfigError> {
    Ok(ReadyConfig {
        delay: env.duration("READY_CHECK_RESPONSE_DELAY", Duration::ZERO)?,
        success_code: env.status("READY_CHECK_RESPONSE_SUCCESS_CODE", StatusCode::OK)?,
        failure_code: env.status(
            "READY_CHECK_RESPONSE_FAILURE_CODE",
            StatusCode::SERVICE_UNAVAILABLE,
        )?,
        service_waits: env.flag("READY_CHECK_ROOT_PATH_WAIT_TILL_READY", false)?,
    })
}

#[cfg(test)]
mod tests;
