//! The service itself: faults, upstream calls, a service time, and the report on all of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::target::Call;
use super::{Body, Handler, json, text};
use crate::config::RequestBody;
use crate::report::Report;
use crate::{duration, forward};

/// The status of a call that got no response.
const NO_RESPONSE: i32 = -1;

impl Handler {
    /// Answers with a report: 200, or 500 when an upstream failed, or an injected fault.
    pub(super) async fn service(
        &self,
        request: &Request<Incoming>,
        calls: Vec<Call<'_>>,
        local: Option<SocketAddr>,
    ) -> Response<Body> {
        if self.config.ready.service_waits && !self.is_ready() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n");
        }
        let (started, start) = (self.clock.now(), self.clock.since_epoch());
        let mut report = self.report(request, local);
        if asks_for_headers(request) {
            report.headers = header_map(request.headers());
        }
        if let Some(fault) = self.faults.next() {
            tokio::time::sleep(fault.after).await;
            report.error = Some(fault.reason.to_owned());
            report.code = i32::from(fault.code.as_u16());
            return json(fault.code, &report);
        }

        report.upstream_calls = self.call_upstreams(request, calls).await;
        let failed = report
            .upstream_calls
            .values()
            .any(|call| call.error.is_some());
        let code = if failed {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        };
        if !failed {
            let rest = self
                .service_time()
                .saturating_sub(self.clock.now().duration_since(started));
            tokio::time::sleep(rest).await;
        }
        report.code = i32::from(code.as_u16());
        report.body = Some(self.config.message.clone());
        report.start_time = duration::timestamp(start);
        report.end_time = duration::timestamp(self.clock.since_epoch());
        report.duration = duration::format(self.clock.now().duration_since(started));
        json(code, &report)
    }

    fn service_time(&self) -> Duration {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        self.config.timing.draw(&random)
    }

    async fn call_upstreams(
        &self,
        request: &Request<Incoming>,
        calls: Vec<Call<'_>>,
    ) -> BTreeMap<String, Report> {
        let headers = forward::inherited(&self.config, request.headers());
        let body = self.request_body();
        let query = request.uri().query();
        // each future is boxed: a stream of borrowing futures is otherwise not known to be Send
        let calls = calls
            .into_iter()
            .map(|call| Box::pin(self.call(call, query, headers.clone(), body.clone())));
        let calls: Vec<_> = calls.collect();
        futures_util::stream::iter(calls)
            .buffered(self.config.workers.get())
            .collect()
            .await
    }

    async fn call(
        &self,
        call: Call<'_>,
        query: Option<&str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (String, Report) {
        let Call {
            upstream,
            path,
            with_query,
        } = call;
        let uri = upstream.extended(path, query.filter(|_| with_query));
        let mut report = match self.client.call(uri, headers, body).await {
            Ok(answer) => {
                let mut report = Report::from_upstream(&answer.body);
                report.code = i32::from(answer.status.as_u16());
                report.headers = header_map(&answer.headers);
                report.error = report.error.or_else(|| {
                    (!answer.status.is_success())
                        .then(|| format!("the upstream answered {}", answer.status))
                });
                report
            }
            Err(error) => Report {
                code: NO_RESPONSE,
                error: Some(error.to_string()),
                ..Report::default()
            },
        };
        report.uri = upstream.written.clone();
        (upstream.written.clone(), report)
    }

    fn request_body(&self) -> Bytes {
        match &self.config.request_body {
            RequestBody::Empty => Bytes::new(),
            RequestBody::Fixed(body) => body.clone(),
            RequestBody::Random {
                size,
                variance_percent,
            } => {
                let random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
                let most = *size as u64 * u64::from(*variance_percent) / 100;
                let size = *size as u64 + random.below(2 * most + 1) - most.min(*size as u64);
                (0..size).map(|_| b'a' + random.below(26) as u8).collect()
            }
        }
    }
}

fn asks_for_headers(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "headers" | "headers=1" | "headers=true"))
}

/// Headers by name; repeated ones are joined with commas.
pub(super) fn header_map(headers: &HeaderMap) -> BTreeMap<String, String> {
    let values = |name| {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(",")
    };
    headers
        .keys()
        .map(|name| (name.to_string(), values(name)))
        .collect()
}
