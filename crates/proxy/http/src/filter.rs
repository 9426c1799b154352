//! The seam between the connection manager and what looks at requests on their way: a filter
//! sees a request's and a response's headers and the finished stream's record, decides, and
//! knows neither the codec nor the other filters.

mod cors;
mod istio_stats;
mod peer_metadata;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::{ConnectionInfo, StreamRecord};

use crate::worker::WorkerContext;

pub(crate) use peer_metadata::Peers;

/// A filter of an HTTP connection manager. One value serves all requests.
pub trait HttpFilter {
    /// A request's headers have come.
    fn on_request(&self, _request: &mut RequestContext<'_>) -> Decision {
        Decision::Continue
    }

    /// A response's headers go, whoever gave it.
    fn on_response(&self, _response: &mut ResponseContext<'_>) {}

    /// The stream has ended.
    fn on_complete(&self, _record: &StreamRecord<'_>, _worker: &WorkerContext) {}
}

/// What a filter makes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes on.
    Continue,
    /// It is answered here and now.
    Reply(FilterReply),
}

/// An answer that a filter gives.
#[derive(Debug)]
pub struct FilterReply {
    /// The status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, perhaps empty.
    pub body: Bytes,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

/// A request as filters see it.
#[derive(Debug)]
pub struct RequestContext<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a mut HeaderMap,
    /// The connection.
    pub connection: &'a ConnectionInfo,
    /// The route's CORS policy.
    pub cors: Option<&'a ir::Cors>,
    /// The metadata of the cluster that the request will go to.
    pub cluster_metadata: Option<&'a ir::Metadata>,
    /// The worker.
    pub worker: &'a WorkerContext,
    /// What filters remember of the stream.
    pub notes: &'a mut Notes,
}

/// A response as filters see it.
#[derive(Debug)]
pub struct ResponseContext<'a> {
    /// The headers.
    pub headers: &'a mut HeaderMap,
    /// It came from the upstream.
    pub from_upstream: bool,
    /// The route's CORS policy.
    pub cors: Option<&'a ir::Cors>,
    /// The worker.
    pub worker: &'a WorkerContext,
    /// What filters remember of the stream.
    pub notes: &'a mut Notes,
}

/// What filters remember of a stream between its events. Each filter keeps its own field.
#[derive(Debug, Default)]
pub struct Notes {
    pub(crate) allowed_origin: Option<HeaderValue>,
    pub(crate) peers: Peers,
}

/// The filters there are; a chain is a list of these.
#[derive(Debug)]
pub(crate) enum Filter {
    Cors(cors::CorsFilter),
    IstioStats(istio_stats::IstioStatsFilter),
    PeerMetadata(peer_metadata::PeerMetadataFilter),
}

impl Filter {
    /// The filter for a configuration; none for the router and for what has no effect.
    pub(crate) fn new(kind: &ir::HttpFilterKind) -> Option<Self> {
        match kind {
            ir::HttpFilterKind::Cors => Some(Self::Cors(cors::CorsFilter)),
            ir::HttpFilterKind::IstioStats(config) => Some(Self::IstioStats(
                istio_stats::IstioStatsFilter::new(config.clone()),
            )),
            ir::HttpFilterKind::PeerMetadata(config) => Some(Self::PeerMetadata(
                peer_metadata::PeerMetadataFilter::new(config.clone()),
            )),
            ir::HttpFilterKind::Router { .. } | ir::HttpFilterKind::Inert => None,
        }
    }

    /// Whether it wants to be told of finished streams.
    pub(crate) fn wants_record(&self) -> bool {
        matches!(self, Self::IstioStats(_))
    }
}

impl HttpFilter for Filter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        match self {
            Self::Cors(filter) => filter.on_request(request),
            Self::IstioStats(filter) => filter.on_request(request),
            Self::PeerMetadata(filter) => filter.on_request(request),
        }
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        match self {
            Self::Cors(filter) => filter.on_response(response),
            Self::IstioStats(filter) => filter.on_response(response),
            Self::PeerMetadata(filter) => filter.on_response(response),
        }
    }

    fn on_complete(&self, record: &StreamRecord<'_>, worker: &WorkerContext) {
        match self {
            Self::Cors(filter) => filter.on_complete(record, worker),
            Self::IstioStats(filter) => filter.on_complete(record, worker),
            Self::PeerMetadata(filter) => filter.on_complete(record, worker),
        }
    }
}
