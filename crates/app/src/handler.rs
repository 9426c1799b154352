//! One request in, one response out: decides what its path asks for, then does it.
//!
//! Called by the server for every request. The service itself is in `service`, the paths that
//! every instance serves in `fixed`, the upgrade in `websocket`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use meltemi_lifecycle::{Clock, Random};
use tokio::time::Instant;

use crate::client::UpstreamClient;
use crate::config::Config;
use crate::fault::FaultInjector;
use crate::report::Report;

mod fixed;
mod service;
mod target;
mod websocket;

use target::Target;

pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A workload at work: its settings and what it remembers between requests.
pub(crate) struct Handler {
    config: Config,
    client: UpstreamClient,
    faults: FaultInjector,
    random: Mutex<Random>,
    clock: Clock,
    started: Instant,
    failures: Mutex<HashMap<String, u32>>,
}

impl Handler {
    pub(crate) fn new(config: Config) -> Self {
        let clock = Clock::system();
        Self {
            client: UpstreamClient::new(&config),
            faults: FaultInjector::new(config.faults),
            random: Mutex::new(
                config
                    .seed
                    .map_or_else(Random::from_entropy, Random::seeded),
            ),
            started: clock.now(),
            clock,
            failures: Mutex::default(),
            config,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Answers a request that came to the address `local`.
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        local: Option<SocketAddr>,
    ) -> Response<Body> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = match Target::of(&self.config, uri.path()) {
            Target::Service(calls) => self.service(&request, calls, local).await,
            Target::Alive => text(StatusCode::OK, "ok\n"),
            Target::Health => text(self.config.health_code, "health\n"),
            Target::Ready => self.readiness(),
            Target::Status(code) => self.bare(code, &request, local),
            Target::Delay(delay) => {
                tokio::time::sleep(delay).await;
                self.bare(StatusCode::OK, &request, local)
            }
            Target::Flaky(failures) => self.bare(self.flaky(&request, failures), &request, local),
            Target::Headers => fixed::headers(&request),
            Target::Echo => fixed::echo(self.name(), request).await,
            Target::EchoRaw => fixed::echo_raw(request),
            Target::Stream { chunks, pause } => fixed::stream(chunks, pause),
            Target::Trailers => fixed::trailers(),
            Target::WebSocket => websocket::upgrade(request),
            Target::Malformed => text(
                StatusCode::BAD_REQUEST,
                "the path needs a number where it has none\n",
            ),
        };
        tracing::debug!(name = self.name(), %method, %uri, status = response.status().as_u16(), "answered");
        response
    }

    /// A report on this hop alone, its times not yet set.
    fn report(&self, request: &Request<Incoming>, local: Option<SocketAddr>) -> Report {
        let address = self
            .config
            .address
            .or_else(|| local.map(|local| local.ip()));
        let uri = request.uri();
        Report {
            name: self.config.name.clone(),
            version: self.config.version.clone(),
            instance: self.config.instance.clone(),
            uri: uri
                .path_and_query()
                .map_or_else(|| uri.to_string(), ToString::to_string),
            kind: "HTTP".to_owned(),
            ip_addresses: address.iter().map(ToString::to_string).collect(),
            ..Report::default()
        }
    }

    fn bare(
        &self,
        code: StatusCode,
        request: &Request<Incoming>,
        local: Option<SocketAddr>,
    ) -> Response<Body> {
        json(
            code,
            &Report {
                code: i32::from(code.as_u16()),
                ..self.report(request, local)
            },
        )
    }

    fn is_ready(&self) -> bool {
        self.clock.now().duration_since(self.started) >= self.config.ready.delay
    }

    fn readiness(&self) -> Response<Body> {
        if self.is_ready() {
            text(self.config.ready.success_code, "ready\n")
        } else {
            text(self.config.ready.failure_code, "not ready yet\n")
        }
    }
}

fn json(code: StatusCode, report: &Report) -> Response<Body> {
    respond(code, "application/json", report.to_json())
}

fn text(code: StatusCode, body: &'static str) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", body)
}

fn respond(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let mut response = Response::new(
        Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
