//! What is known of a request by and by, for whoever answers it and for its record.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use meltemi_telemetry::{Protocol, ResponseFlags};
use meltemi_upstream::{ConnectionDetails, HttpVersion, WorkerCluster, WorkerHost};
use tokio::time::Instant;

use crate::filter::Notes;
use crate::headers::pool::HeaderPool;
use crate::route::RouteIndex;
use crate::wire::Wires;

/// What is known of a request by and by.
pub(crate) struct Facts {
    pub(crate) protocol: Protocol,
    pub(super) request: Option<RequestFacts>,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) internal: bool,
    pub(crate) route: Option<RouteIndex>,
    /// Position of the chosen cluster among the route's.
    pub(crate) cluster_at: Option<usize>,
    pub(crate) cluster: Option<Rc<WorkerCluster>>,
    pub(crate) host: Option<Rc<WorkerHost>>,
    pub(crate) upstream_version: Option<HttpVersion>,
    pub(crate) upstream_connection: Option<Arc<ConnectionDetails>>,
    /// How the messages went over the wire, where that is asked for.
    pub(crate) wire: Option<Box<Wires>>,
    /// When the connection was asked for, and when there was one or none.
    pub(crate) leased: Option<(Instant, Instant)>,
    pub(crate) transport_failure: Option<Rc<str>>,
    pub(crate) attempts: u32,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Cow<'static, str>,
    pub(crate) status: Option<u16>,
    pub(crate) response_headers: HeaderMap,
    pub(crate) response_trailers: Option<Box<HeaderMap>>,
    pub(crate) response_header_bytes: u64,
    pub(super) response_trailer_bytes: u64,
    pub(super) response_header_text: u64,
    pub(crate) notes: Notes,
    /// Cookies that the response sets, for the hash of the next request.
    pub(crate) set_cookies: Vec<HeaderValue>,
}

/// What a record needs of a request.
pub(super) struct RequestFacts {
    pub(super) method: Method,
    pub(super) scheme: &'static str,
    pub(super) authority: HeaderValue,
    pub(super) path: Option<PathAndQuery>,
    pub(super) headers: HeaderMap,
    /// On the wire, about.
    pub(super) header_bytes: u64,
    /// Of names and values.
    pub(super) header_text: u64,
}

impl Facts {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            request: None,
            client: None,
            internal: false,
            route: None,
            cluster_at: None,
            cluster: None,
            host: None,
            upstream_version: None,
            upstream_connection: None,
            wire: None,
            leased: None,
            transport_failure: None,
            attempts: 0,
            flags: ResponseFlags::NONE,
            details: Cow::Borrowed(""),
            status: None,
            response_headers: HeaderMap::new(),
            response_trailers: None,
            response_header_bytes: 0,
            response_trailer_bytes: 0,
            response_header_text: 0,
            notes: Notes::default(),
            set_cookies: Vec::new(),
        }
    }

    /// How the messages went over the wire, to be filled in.
    pub(crate) fn wires(&mut self) -> &mut Wires {
        self.wire.get_or_insert_default()
    }

    /// Gives back what nobody looks at after the end.
    pub(super) fn forget(&mut self, kept: &HeaderPool) {
        self.notes.forget();
        kept.give(std::mem::take(&mut self.response_headers));
        if let Some(trailers) = self.response_trailers.take() {
            kept.give(*trailers);
        }
        if let Some(request) = self.request.take() {
            kept.give(request.headers);
        }
    }
}
