//! What a path asks for: a path and the settings enter, a decision leaves.

use std::time::Duration;

use http::StatusCode;

use crate::config::Config;
use crate::upstream::UpstreamUri;

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// The service itself, which makes these calls.
    Service(Vec<Call<'a>>),
    Alive,
    Health,
    Ready,
    Status(StatusCode),
    Delay(Duration),
    Flaky(u32),
    Headers,
    Echo,
    EchoRaw,
    Stream {
        chunks: u32,
        pause: Duration,
    },
    Trailers,
    WebSocket,
    /// A path of this workload whose number is none.
    Malformed,
}

/// One upstream call that a request causes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) upstream: &'a UpstreamUri,
    /// Added to the upstream's own path.
    pub(super) path: &'a str,
    /// Whether the request's query is added too.
    pub(super) with_query: bool,
}

impl<'a> Target<'a> {
    /// Paths of `UPSTREAM_ROUTES` first, then those every instance serves, then the service.
    pub(super) fn of(config: &'a Config, path: &'a str) -> Self {
        let closest = config
            .routes
            .iter()
            .find_map(|route| route.rest(path).map(|_| &route.prefix));
        if let Some(prefix) = closest {
            let routes = config.routes.iter().filter(|route| route.prefix == *prefix);
            let calls = routes.filter_map(|route| {
                Some(Call {
                    upstream: &route.upstream,
                    path: route.rest(path)?,
                    with_query: true,
                })
            });
            return Self::Service(calls.collect());
        }
        let mut segments = path.split('/').skip(1);
        let mut segment = || segments.next().unwrap_or_default();
        let fixed = match (segment(), segment(), segment(), segment()) {
            ("healthz", "", "", "") => Some(Self::Alive),
            ("health", "", "", "") => Some(Self::Health),
            ("ready", "", "", "") => Some(Self::Ready),
            ("headers", "", "", "") => Some(Self::Headers),
            ("trailers", "", "", "") => Some(Self::Trailers),
            ("echo", "", "", "") => Some(Self::Echo),
            ("echo", "raw", "", "") => Some(Self::EchoRaw),
            ("ws", "", "", "") => Some(Self::WebSocket),
            ("status", code, "", "") => Some(Self::status(code)),
            ("delay", delay, "", "") => {
                Some(number(delay).map_or(Self::Malformed, |ms| Self::Delay(millis(ms))))
            }
            ("flaky", failures, "", "") => {
                Some(number(failures).map_or(Self::Malformed, Self::Flaky))
            }
            ("stream", chunks, pause, "") => Some(match (number(chunks), number(pause)) {
                (Some(chunks), Some(pause)) => Self::Stream {
                    chunks,
                    pause: millis(pause),
                },
                _ => Self::Malformed,
            }),
            _ => None,
        };
        fixed.unwrap_or_else(|| Self::Service(Self::configured(config, path)))
    }

    fn configured(config: &'a Config, path: &'a str) -> Vec<Call<'a>> {
        let (path, with_query) = if config.append_request {
            (path, true)
        } else {
            ("", false)
        };
        config
            .upstreams
            .iter()
            .map(|upstream| Call {
                upstream,
                path,
                with_query,
            })
            .collect()
    }

    fn status(code: &str) -> Self {
        let code = code
            .parse()
            .ok()
            .filter(|code: &StatusCode| code.as_u16() >= 200);
        code.map_or(Self::Malformed, Self::Status)
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn millis(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}
