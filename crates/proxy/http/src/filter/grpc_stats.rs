//! `envoy.filters.http.grpc_stats`: counts gRPC calls and their messages, by method where that
//! is asked for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{GrpcMethodStats, Sharded, StatsRegistry};
use tokio::time::Instant;

use super::transform::{Rest, TransformError};
use super::{BodyTransform, Decision, FilterParts, HttpFilter, RequestContext, ResponseContext};
use crate::headers::{names, parse_number};
use crate::stream::Stream;

/// The filter with its settings.
pub(crate) struct GrpcStatsFilter {
    config: ir::GrpcStats,
    registry: Arc<StatsRegistry>,
}

/// A call in progress.
struct Call {
    stats: Arc<Sharded<GrpcMethodStats>>,
    stream: Rc<Stream>,
    requests: Cell<u64>,
    responses: Cell<u64>,
    began: Instant,
    upstream_stats: bool,
    emit: Option<String>,
}

impl GrpcStatsFilter {
    pub(crate) fn new(config: ir::GrpcStats, parts: &FilterParts<'_>) -> Self {
        Self {
            config,
            registry: parts.stats.clone(),
        }
    }

    /// The statistics of a call: by service and method where they are kept apart.
    fn stats(&self, cluster: &str, path: &str) -> Arc<Sharded<GrpcMethodStats>> {
        let path = path.split('?').next().unwrap_or_default();
        let parts = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .filter(|(_, method)| !method.is_empty() && !method.contains('/'));
        let method = parts.filter(|(service, method)| match &self.config.methods {
            ir::GrpcMethods::None => false,
            ir::GrpcMethods::All => true,
            ir::GrpcMethods::Listed(listed) => {
                let known = |(s, m): &(String, String)| s == service && m == method;
                listed.iter().any(known)
            }
        });
        match method {
            Some((service, method)) if self.config.replace_dots => {
                let service = service.replace('.', "_");
                self.registry.grpc(cluster, Some((&service, method)))
            }
            method => self.registry.grpc(cluster, method),
        }
    }
}

impl HttpFilter for GrpcStatsFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        if !request.stream.is_grpc() {
            return Decision::Continue;
        }
        let name = {
            let facts = request.stream.facts.borrow();
            let cluster = facts.cluster.as_ref();
            cluster.map(|cluster| cluster.config().name.clone())
        };
        let Some(name) = name else {
            return Decision::Continue;
        };
        let worker = request.worker();
        let path = request.head.path();
        let stats = worker.grpc_stats(&name, path, || self.stats(&name, path));
        let call = Rc::new(Call {
            stats,
            stream: request.stream.clone(),
            requests: Cell::new(0),
            responses: Cell::new(0),
            began: Instant::now(),
            upstream_stats: self.config.upstream_stats,
            emit: self
                .config
                .emit_filter_state
                .then(|| request.place.name.to_owned()),
        });
        if !request.body.is_end() {
            let frames = Frames::default();
            request
                .body
                .transform(Box::new(Requests(call.clone(), frames)));
        }
        request.remember(call);
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let Some(call) = response.recall::<Rc<Call>>() else {
            return;
        };
        if response.is_empty {
            call.ended(response.headers.get(names::GRPC_STATUS));
        } else {
            // a status among the headers, whose stream has not ended with them
            let early = response.headers.get(names::GRPC_STATUS).cloned();
            let frames = Frames::default();
            let counted = Responses(call, frames, early);
            response.transforms.push(Box::new(counted));
        }
    }
}

impl Call {
    fn ended(&self, status: Option<&HeaderValue>) {
        let stats = self.stats.shard(self.stream.connection.worker.worker);
        stats.total.inc();
        let status = parse_number(status);
        if let Some(status) = status.and_then(|status| u16::try_from(status).ok()) {
            stats.status.count(status);
        }
        if status == Some(0) {
            stats.success.inc();
        } else {
            stats.failure.inc();
        }
        if self.upstream_stats {
            let elapsed = self.began.elapsed().as_millis() as u64;
            stats.upstream_rq_time.record(elapsed);
        }
        self.emit();
    }

    fn emit(&self) {
        if let Some(name) = &self.emit {
            let (requests, responses) = (self.requests.get(), self.responses.get());
            let text = format!("{requests},{responses}");
            let mut facts = self.stream.facts.borrow_mut();
            facts.notes.shared_mut().state.insert(name.clone(), text);
        }
    }
}

/// Where gRPC messages begin and end in a body.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    /// How many messages begin in this data.
    fn count(&mut self, mut data: &[u8]) -> u64 {
        let mut messages = 0;
        while !data.is_empty() {
            let skipped = self.left.min(data.len());
            self.left -= skipped;
            data = &data[skipped..];
            if data.is_empty() {
                break;
            }
            let wanted = (5 - self.head.len()).min(data.len());
            self.head.extend_from_slice(&data[..wanted]);
            data = &data[wanted..];
            if self.head.len() == 5 {
                let length = &self.head[1..];
                self.left = length
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                self.head.clear();
                messages += 1;
            }
        }
        messages
    }
}

struct Requests(Rc<Call>, Frames);

impl BodyTransform for Requests {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        let messages = self.1.count(&data);
        self.0.requests.set(self.0.requests.get() + messages);
        let stats = self.0.stats.shard(self.0.stream.connection.worker.worker);
        stats.request_message_count.add(messages);
        Ok(data)
    }
}

struct Responses(Rc<Call>, Frames, Option<HeaderValue>);

impl BodyTransform for Responses {
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError> {
        let messages = self.1.count(&data);
        self.0.responses.set(self.0.responses.get() + messages);
        let stats = self.0.stats.shard(self.0.stream.connection.worker.worker);
        stats.response_message_count.add(messages);
        Ok(data)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        let late = trailers.as_ref();
        let late = late.and_then(|trailers| trailers.get(names::GRPC_STATUS));
        self.0.ended(late.or(self.2.as_ref()));
        Ok((Bytes::new(), trailers))
    }
}
