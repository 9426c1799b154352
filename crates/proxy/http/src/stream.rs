//! One request and its response: what is known of it, from its first byte to its record.
//!
//! The handler makes a [`Stream`] for each request; the bodies of request and response count
//! into it; when the last of them is done, or dropped, its [`StreamEnd`] writes the record.

mod facts;

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use meltemi_ir::Address;
use meltemi_telemetry::{Protocol, RequestRecord, ResponseFlags, StreamRecord, UpstreamRecord};
use meltemi_upstream::HttpVersion;
use tokio::time::Instant;

use crate::connection::{Connection, Left, Settings};
use crate::filter::HttpFilter as _;
use crate::head::RequestHead;
use crate::headers::names;
use crate::mutation::{Mutation, NoPseudo};
use crate::route::RouteSettings;
use crate::size::{header_bytes, request_bytes, response_bytes};
use crate::wire::{NO_WIRES, Wire};

pub(crate) use facts::Facts;
use facts::RequestFacts;

/// A request in progress.
pub(crate) struct Stream {
    pub(crate) connection: Rc<Connection>,
    pub(crate) settings: StreamSettings,
    pub(crate) start: Instant,
    wall: Duration,
    pub(crate) random: u64,
    pub(crate) bytes_received: Cell<u64>,
    pub(crate) bytes_sent: Cell<u64>,
    last_active: Cell<Instant>,
    /// Activity is of interest to some limit.
    pub(crate) watched: Cell<bool>,
    /// The client went away before the request's body had come.
    pub(crate) client_left: Cell<bool>,
    /// It was broken off from this side.
    pub(crate) aborted: Cell<bool>,
    /// The connection ends with it.
    pub(crate) last: Cell<bool>,
    /// It is a gRPC call.
    grpc: Cell<bool>,
    /// The response goes no faster than this: bytes a second, 0 being no limit.
    slow: Cell<u64>,
    pub(crate) request_done: Cell<Option<Instant>>,
    pub(crate) response_started: Cell<Option<Instant>>,
    /// What stood between the chunks of the request's body and the response's, if they come in chunks,
    /// where that is asked for.
    pub(crate) framing: Cell<(u64, u64)>,
    /// When the first of its body came, where that is asked for.
    pub(crate) body_started: Cell<Option<Instant>>,
    /// The response's first byte went downstream.
    answer_started: Cell<Option<Instant>>,
    pub(crate) response_done: Cell<Option<Instant>>,
    pub(crate) facts: RefCell<Facts>,
}

/// The settings of a stream: those with which it began, or the same with a newer route table.
pub(crate) struct StreamSettings {
    first: Rc<Settings>,
    renewed: OnceCell<Rc<Settings>>,
}

impl StreamSettings {
    /// Takes the newest route table, once.
    pub(crate) fn renew(&self, connection: &Connection) {
        let settings = || Rc::new(self.first.with_newest_routes(&connection.info));
        self.renewed.get_or_init(settings);
    }
}

impl std::ops::Deref for StreamSettings {
    type Target = Settings;

    #[inline]
    fn deref(&self) -> &Settings {
        self.renewed.get().unwrap_or(&self.first)
    }
}

/// Ends the stream when dropped.
pub(crate) struct StreamEnd(pub(crate) Rc<Stream>);

impl Stream {
    /// A request has begun.
    pub(crate) fn begin(
        connection: &Rc<Connection>,
        settings: Rc<Settings>,
        protocol: Protocol,
    ) -> StreamEnd {
        let worker = &connection.worker;
        let start = worker.clock.now();
        let stats = settings.manager.stats.shard(worker.worker);
        stats.downstream_rq_total.inc();
        stats.downstream_rq_active.inc();
        if protocol == Protocol::Http2 {
            stats.downstream_rq_http2_total.inc();
        } else {
            stats.downstream_rq_http1_total.inc();
        }
        connection.stream_began();
        StreamEnd(Rc::new(Self {
            wall: worker.clock.since_epoch(),
            random: worker.random.bits(),
            connection: connection.clone(),
            settings: StreamSettings {
                first: settings,
                renewed: OnceCell::new(),
            },
            start,
            bytes_received: Cell::new(0),
            bytes_sent: Cell::new(0),
            last_active: Cell::new(start),
            watched: Cell::new(false),
            client_left: Cell::new(false),
            aborted: Cell::new(false),
            last: Cell::new(false),
            grpc: Cell::new(false),
            slow: Cell::new(0),
            request_done: Cell::new(None),
            response_started: Cell::new(None),
            framing: Cell::new((0, 0)),
            body_started: Cell::new(None),
            answer_started: Cell::new(None),
            response_done: Cell::new(None),
            facts: RefCell::new(Facts::new(protocol)),
        }))
    }

    /// Whether the client speaks HTTP/1.0.
    pub(crate) fn is_http10(&self) -> bool {
        self.facts.borrow().protocol == Protocol::Http10
    }

    /// Whether the client speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.facts.borrow().protocol == Protocol::Http2
    }

    /// Whether the request is a gRPC call.
    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc.get()
    }

    /// The request is a gRPC call, or is none.
    pub(crate) fn set_grpc(&self, grpc: bool) {
        self.grpc.set(grpc);
    }

    /// Makes the response go no faster than so many bytes a second.
    pub(crate) fn slow_down(&self, bytes_per_second: u64) {
        self.slow.set(bytes_per_second);
    }

    /// How fast the response may go, in bytes a second.
    pub(crate) fn speed(&self) -> Option<u64> {
        (self.slow.get() > 0).then_some(self.slow.get())
    }

    /// The address taken for the client's.
    pub(crate) fn client(&self) -> SocketAddr {
        self.facts
            .borrow()
            .client
            .unwrap_or(self.connection.info.remote)
    }

    /// What the route says of filters.
    pub(crate) fn route_settings(&self) -> RouteSettings<'_> {
        let facts = self.facts.borrow();
        RouteSettings::new(
            self.settings.routes.as_deref(),
            facts.route,
            facts.cluster_at,
        )
    }

    /// Makes changes to a request's headers.
    pub(crate) fn mutate(&self, mutation: &Mutation, head: &mut RequestHead) {
        if mutation.is_empty() {
            return;
        }
        let values = if mutation.needs_record() {
            self.with_record(None, Some(head), None, |record| mutation.values(record))
        } else {
            Vec::new()
        };
        let mut headers = std::mem::take(&mut head.headers);
        mutation.apply(&mut headers, head, values);
        head.headers = headers;
    }

    /// Makes changes to a response's headers.
    pub(crate) fn mutate_response(
        &self,
        mutation: &Mutation,
        status: u16,
        headers: &mut HeaderMap,
    ) {
        if mutation.is_empty() {
            return;
        }
        let values = if mutation.needs_record() {
            self.facts.borrow_mut().status = Some(status);
            self.with_record(None, None, Some(headers), |record| mutation.values(record))
        } else {
            Vec::new()
        };
        mutation.apply(headers, &mut NoPseudo, values);
    }

    /// Something moved on the stream.
    pub(crate) fn touch(&self) {
        if self.watched.get() {
            self.last_active.set(Instant::now());
        }
    }

    pub(crate) fn last_active(&self) -> Instant {
        self.last_active.get()
    }

    /// The request's last byte has come.
    pub(crate) fn request_ended(&self) {
        if self.request_done.get().is_none() {
            self.request_done.set(Some(Instant::now()));
        }
    }

    /// Adds flags.
    pub(crate) fn flag(&self, flags: ResponseFlags) {
        self.facts.borrow_mut().flags.insert(flags);
    }

    /// Says why the response is what it is.
    pub(crate) fn explain(&self, details: impl Into<Cow<'static, str>>) {
        self.facts.borrow_mut().details = details.into();
    }

    /// Keeps what the record needs of the request, as it is now.
    pub(crate) fn note_request(&self, head: &RequestHead) {
        let mut facts = self.facts.borrow_mut();
        let kept = &self.connection.worker.kept;
        let keep_headers = self.settings.keeps_headers;
        let (header_bytes, header_text) = match keep_headers {
            true => request_bytes(head),
            false => (0, 0),
        };
        facts.request = Some(RequestFacts {
            method: head.method.clone(),
            scheme: head.scheme(),
            authority: head.authority.clone(),
            path: head.path.clone(),
            headers: if keep_headers {
                kept.keep(&head.headers, &self.settings.request_fields)
            } else {
                HeaderMap::new()
            },
            header_bytes,
            header_text,
        });
    }

    /// The request's id, where it is kept for the response.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        let facts = self.facts.borrow();
        facts
            .request
            .as_ref()?
            .headers
            .get(names::X_REQUEST_ID)
            .cloned()
    }

    /// Whether [`Self::note_request`] has been called.
    pub(crate) fn is_noted(&self) -> bool {
        self.facts.borrow().request.is_some()
    }

    /// Keeps what the record needs of the response, as it goes downstream.
    pub(crate) fn note_response(&self, status: u16, headers: &HeaderMap) {
        let worker = self.connection.worker.worker;
        if self.client_left.get() {
            // it goes to nobody
            return;
        }
        let manager = &self.settings.manager;
        self.answer_started.set(Some(Instant::now()));
        manager.stats.shard(worker).count_response(status);
        manager.listener_stats.shard(worker).count_response(status);
        let mut facts = self.facts.borrow_mut();
        facts.status = Some(status);
        if manager.recorded {
            let kept = &self.connection.worker.kept;
            facts.response_headers = kept.keep(headers, &manager.fields.response_headers);
            let bytes = response_bytes(status, headers, facts.protocol);
            (facts.response_header_bytes, facts.response_header_text, _) = bytes;
            if manager.fields.wire_bytes {
                facts.wires().sent = Wire::response(status, facts.protocol, bytes);
            }
        }
    }

    /// Keeps what the record needs of the response's trailers.
    pub(crate) fn note_trailers(&self, trailers: &HeaderMap) {
        let manager = &self.settings.manager;
        if manager.recorded {
            let mut facts = self.facts.borrow_mut();
            let kept = &self.connection.worker.kept;
            let trailers_kept = kept.keep(trailers, &manager.fields.response_trailers);
            facts.response_trailers = Some(Box::new(trailers_kept));
            let (wire, text) = header_bytes(trailers);
            facts.response_trailer_bytes = text;
            if manager.fields.wire_bytes {
                facts.wires().trailers = wire;
            }
            facts.response_header_bytes += wire;
        }
    }

    /// The response's last byte has gone.
    pub(crate) fn response_ended(&self) {
        if self.response_done.get().is_none() {
            self.response_done.set(Some(Instant::now()));
        }
    }

    /// Calls `read` with all that is known. `request` stands for the request's headers where
    /// they are at hand, `response` for the response's.
    pub(crate) fn with_record<R>(
        &self,
        ended: Option<Instant>,
        request: Option<&RequestHead>,
        response: Option<&HeaderMap>,
        read: impl FnOnce(&StreamRecord<'_>) -> R,
    ) -> R {
        let facts = &*self.facts.borrow();
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(self.start));
        let mut record = StreamRecord::new(&self.connection.info, self.wall);
        record.remote = facts.client;
        record.protocol = Some(facts.protocol);
        record.request = request_record(request, facts.request.as_ref());
        record.response_code = facts.status;
        record.response_headers = Some(response.unwrap_or(&facts.response_headers));
        record.response_trailers = facts.response_trailers.as_deref();
        record.response_code_details = (!facts.details.is_empty()).then_some(&*facts.details);
        record.flags = facts.flags;
        record.bytes_received = self.bytes_received.get();
        record.bytes_sent = self.bytes_sent.get();
        let wires = facts.wire.as_deref().unwrap_or(&NO_WIRES);
        let request = facts.request.as_ref();
        record.request_header_text = request.map_or(0, |request| request.header_text);
        record.response_header_text = facts.response_header_text;
        (record.request_header_bytes, record.response_header_bytes) = match facts.protocol {
            Protocol::Http2 => (record.request_header_text, record.response_header_text),
            Protocol::Http10 | Protocol::Http11 => (
                request.map_or(0, |request| request.header_bytes),
                facts.response_header_bytes,
            ),
        };
        record.duration = since(ended);
        record.request_done = since(self.request_done.get());
        let connection = facts.upstream_connection.as_ref();
        let leased = connection.and(facts.leased.map(|(_, ready)| ready));
        record.request_started = since(leased);
        record.body_started = since(self.body_started.get());
        record.answer_started = since(self.answer_started.get());
        let sent = leased.zip(self.request_done.get());
        record.request_sent = since(sent.map(|(leased, done)| leased.max(done)));
        record.response_started = since(self.response_started.get());
        record.response_done = since(self.response_done.get());
        record.received = wires.received(self);
        record.sent = wires.sent(self);
        record.attempts = facts.attempts;
        record.downstream_peer = facts.notes.peers.downstream.as_ref();
        record.upstream_peer = facts.notes.peers.upstream.as_ref();
        record.health_check = facts.notes.health_check;
        record.stream_id = self.random;
        record.response_trailer_bytes = facts.response_trailer_bytes;
        if let Some(shared) = facts.notes.shared() {
            record.dynamic_metadata = Some(&shared.metadata);
            record.filter_state = Some(&shared.state);
        }
        if let (Some(table), Some(index)) = (&self.settings.routes, facts.route) {
            let route = &table.entry(index).config;
            record.route_name = (!route.name.is_empty()).then_some(&*route.name);
            record.virtual_host = Some(&table.host(index).config.name);
            record.route_metadata = Some(&route.metadata);
            record.virtual_host_metadata = Some(&table.host(index).config.metadata);
        }
        let host_metadata = facts.host.as_ref().map(|host| host.metadata());
        // the host of a name is recorded by the address that the name stands for
        let reached = facts.host.as_ref().and_then(|host| match host.address() {
            Address::Name { .. } => host.socket_address().map(Address::Socket),
            Address::Socket(_) | Address::Pipe(_) => None,
        });
        if let Some(cluster) = &facts.cluster {
            let config = cluster.config();
            record.upstream = Some(UpstreamRecord {
                cluster: &config.name,
                alt_stat_name: config.alt_stat_name.as_deref(),
                cluster_metadata: Some(&config.metadata),
                address: reached
                    .as_ref()
                    .or_else(|| facts.host.as_ref().map(|host| host.address())),
                host_name: facts.host.as_ref().map(|host| host.hostname()),
                host_metadata: host_metadata.as_deref(),
                connected: connection.is_some(),
                connection_id: connection.map(|details| details.id),
                connecting: connection.and_then(|details| details.connecting(self.start)),
                ready: facts.leased.map(|(asked, ready)| ready - asked),
                local_address: connection.and_then(|details| details.local),
                tls: connection.and_then(|details| details.tls.as_deref()),
                protocol: facts.upstream_version.map(|version| match version {
                    HttpVersion::Http1 => Protocol::Http11,
                    HttpVersion::Http2 => Protocol::Http2,
                }),
                transport_failure: facts.transport_failure.as_deref(),
                bytes_sent: self.bytes_received.get(),
                bytes_received: self.bytes_sent.get(),
                sent: wires.sent_upstream(self),
                received: wires.received_upstream(self),
                ..UpstreamRecord::default()
            });
        }
        read(&record)
    }

    /// Says how it leaves a connection of HTTP/1.
    fn leave(&self) {
        let has_come = self.request_done.get().is_some();
        let has_gone = self.response_done.get().is_some();
        let ends = self.last.get() || self.connection.client_ends.get();
        self.connection.left.set(Left {
            for_good: ends && has_gone && (has_come || self.last.get()),
            whole: !ends && has_come && has_gone,
        });
    }

    fn end(&self) {
        let now = match (self.request_done.get(), self.response_done.get()) {
            (Some(request), Some(response)) => request.max(response),
            _ => Instant::now(),
        };
        let worker = &self.connection.worker;
        let manager = &self.settings.manager;
        let stats = manager.stats.shard(worker.worker);
        let left = self.client_left.get();
        if left || self.response_done.get().is_none() {
            let mut facts = self.facts.borrow_mut();
            if left && facts.status.is_none() {
                // what would have been answered is of no interest
                facts.flags = ResponseFlags::NONE;
            }
            if !self.aborted.get() {
                stats.downstream_rq_rx_reset.inc();
                let reset = facts.protocol == Protocol::Http2 && !self.connection.is_gone();
                let (flag, details) = if reset {
                    (ResponseFlags::DOWNSTREAM_REMOTE_RESET, "http2.remote_reset")
                } else {
                    let flag = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION;
                    (flag, "downstream_remote_disconnect")
                };
                facts.flags.insert(flag);
                facts.details = details.into();
            } else {
                stats.downstream_rq_tx_reset.inc();
            }
        }
        stats.downstream_rq_active.dec();
        let milliseconds = |from: Instant| now.saturating_duration_since(from).as_millis() as u64;
        stats.downstream_rq_time.record(milliseconds(self.start));
        {
            let facts = self.facts.borrow();
            if let (Some(cluster), Some(_)) = (&facts.cluster, self.response_started.get()) {
                let from = self.request_done.get().unwrap_or(self.start);
                cluster
                    .stats()
                    .count_request_time(milliseconds(from), facts.internal);
            }
        }
        if manager.recorded {
            self.with_record(Some(now), None, None, |record| {
                for entry in &manager.filters {
                    entry.filter.on_complete(record, worker);
                }
                for log in &manager.logs {
                    log.log(&worker.logs, record);
                }
            });
        }
        self.facts.borrow_mut().forget(&worker.kept);
        if !self.connection.is_http2() {
            self.leave();
        }
        self.connection.stream_ended(now);
    }
}

/// The request as far as it is known: what is at hand, or what is kept.
fn request_record<'a>(
    at_hand: Option<&'a RequestHead>,
    kept: Option<&'a RequestFacts>,
) -> Option<RequestRecord<'a>> {
    if let Some(head) = at_hand {
        return Some(RequestRecord {
            method: head.method.as_str(),
            scheme: head.scheme(),
            authority: head.authority(),
            path: head.path(),
            headers: &head.headers,
        });
    }
    kept.map(|facts| RequestRecord {
        method: facts.method.as_str(),
        scheme: facts.scheme,
        authority: facts.authority.to_str().unwrap_or_default(),
        path: facts.path.as_ref().map_or("", PathAndQuery::as_str),
        headers: &facts.headers,
    })
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}
