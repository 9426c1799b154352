//! The seam between the connection manager and what looks at requests on their way. A filter
//! sees a request's and a response's headers, may change bodies and trailers as they pass, may
//! wait for something or for the whole body, and sees the finished stream's record. It knows
//! neither the codec nor the other filters; what it remembers of a stream it keeps with the
//! stream, and a route may have settings for it.

mod alpn;
mod buffer;
pub(crate) mod chain;
mod compressor;
mod cors;
mod decompressor;
pub(crate) mod ext_authz;
mod fault;
mod forward_proxy;
mod grpc_stats;
mod grpc_web;
mod header_mutation;
mod header_to_metadata;
mod health_check;
mod istio_stats;
mod jwt_authn;
mod local_ratelimit;
mod missing;
mod notes;
mod on_demand;
mod peer_metadata;
mod rate_limit_rule;
mod rbac;
pub(crate) mod route_config;
mod set_metadata;
pub(crate) mod transform;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use meltemi_ir as ir;
use meltemi_telemetry::{StatsRegistry, StreamRecord};

use crate::head::RequestHead;
use crate::mutation::MutationError;
use crate::request_body::RequestSource;
use crate::route::{RouteSettings, RouteTables};
use crate::router::reply::LocalReply;
use crate::stream::Stream;
use crate::worker::WorkerContext;

pub(crate) use notes::Notes;
pub(crate) use route_config::{RouteConfig, RouteOverride};
pub(crate) use transform::BodyTransform;

/// A filter of an HTTP connection manager. One value serves all requests.
pub(crate) trait HttpFilter {
    /// A request's headers have come.
    fn on_request(&self, _request: &mut RequestContext<'_>) -> Decision {
        Decision::Continue
    }

    /// The request's body has come, as the filter asked by [`Decision::Buffer`] or
    /// [`Decision::BufferUpTo`].
    fn on_whole_body(&self, _request: &mut RequestContext<'_>) -> Decision {
        Decision::Continue
    }

    /// A response's headers go, whoever gave it.
    fn on_response(&self, _response: &mut ResponseContext<'_>) {}

    /// The stream has ended.
    fn on_complete(&self, _record: &StreamRecord<'_>, _worker: &WorkerContext) {}
}

/// What a filter makes of a request.
pub(crate) enum Decision {
    /// It goes on.
    Continue,
    /// It is answered here and now.
    Reply(Box<LocalReply>),
    /// It waits until its body has come whole, which may have so many bytes.
    Buffer(usize),
    /// It waits until its body has come whole, or more than so many bytes of it.
    BufferUpTo(usize),
    /// It waits.
    Wait(Waiting),
}

/// What a request waits for; what comes of it decides how it goes on.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Resume>>>;

/// How a request goes on after waiting.
pub(crate) type Resume = Box<dyn FnOnce(&mut RequestContext<'_>) -> Decision>;

/// A request as filters see it.
pub(crate) struct RequestContext<'a> {
    /// The stream.
    pub(crate) stream: &'a Rc<Stream>,
    /// The head.
    pub(crate) head: &'a mut RequestHead,
    /// The body.
    pub(crate) body: &'a mut RequestSource,
    /// Where the filter stands.
    pub(crate) place: Place<'a>,
}

/// A response as filters see it.
pub(crate) struct ResponseContext<'a> {
    /// The stream.
    pub(crate) stream: &'a Rc<Stream>,
    /// The status.
    pub(crate) status: &'a mut StatusCode,
    /// The headers.
    pub(crate) headers: &'a mut HeaderMap,
    /// It came from the upstream.
    pub(crate) from_upstream: bool,
    /// It has no body.
    pub(crate) is_empty: bool,
    /// The whole body, where it is an answer of the proxy's own.
    pub(crate) body: Option<&'a mut bytes::Bytes>,
    /// Changes to the body and the trailers, in the order in which they are made.
    pub(crate) transforms: &'a mut Vec<Box<dyn BodyTransform>>,
    /// Where the filter stands.
    pub(crate) place: Place<'a>,
}

/// Where a filter stands: in its connection manager, and on a route.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The filter's name in the configuration.
    pub(crate) name: &'a str,
    /// Its position in the chain.
    pub(crate) position: usize,
    /// What the route says.
    pub(crate) route: RouteSettings<'a>,
}

impl<'a> Place<'a> {
    /// The settings that the route has for this filter.
    pub(crate) fn config(&self) -> Option<&'a RouteConfig> {
        self.route.config(self.name)
    }
}

impl RequestContext<'_> {
    pub(crate) fn worker(&self) -> &WorkerContext {
        &self.stream.connection.worker
    }

    /// Keeps what this filter remembers of the stream.
    pub(crate) fn remember<T: 'static>(&self, state: T) {
        let mut facts = self.stream.facts.borrow_mut();
        facts.notes.remember(self.place.position, state);
    }

    /// Whether a request so likely is chosen.
    pub(crate) fn chance(&self, per_million: u32) -> bool {
        per_million >= 1_000_000
            || (per_million > 0 && self.worker().random.below(1_000_000) < u64::from(per_million))
    }
}

impl ResponseContext<'_> {
    pub(crate) fn worker(&self) -> &WorkerContext {
        &self.stream.connection.worker
    }

    /// What this filter remembers of the stream.
    pub(crate) fn recall<T: 'static>(&self) -> Option<T> {
        let mut facts = self.stream.facts.borrow_mut();
        facts.notes.recall(self.place.position)
    }
}

/// A filter in its chain.
pub(crate) struct Entry {
    pub(crate) name: Box<str>,
    /// It does nothing unless a route has settings for it.
    pub(crate) disabled: bool,
    pub(crate) filter: Filter,
}

/// What filters are made with.
pub(crate) struct FilterParts<'a> {
    /// All statistics.
    pub(crate) stats: &'a Arc<StatsRegistry>,
    /// The route tables that discovery delivers.
    pub(crate) routes: &'a Arc<RouteTables>,
    /// The connection manager's prefix in them.
    pub(crate) stat_prefix: &'a str,
}

macro_rules! filters {
    ($($variant:ident($type:path),)*) => {
        /// The filters there are; a chain is a list of these.
        pub(crate) enum Filter {
            $($variant($type),)*
        }

        impl HttpFilter for Filter {
            fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
                match self { $(Self::$variant(filter) => filter.on_request(request),)* }
            }

            fn on_whole_body(&self, request: &mut RequestContext<'_>) -> Decision {
                match self { $(Self::$variant(filter) => filter.on_whole_body(request),)* }
            }

            fn on_response(&self, response: &mut ResponseContext<'_>) {
                match self { $(Self::$variant(filter) => filter.on_response(response),)* }
            }

            fn on_complete(&self, record: &StreamRecord<'_>, worker: &WorkerContext) {
                match self { $(Self::$variant(filter) => filter.on_complete(record, worker),)* }
            }
        }
    };
}

filters! {
    Alpn(alpn::AlpnFilter),
    Buffer(buffer::BufferFilter),
    Compressor(compressor::CompressorFilter),
    Cors(cors::CorsFilter),
    Decompressor(decompressor::DecompressorFilter),
    ExtAuthz(ext_authz::ExtAuthzFilter),
    Fault(fault::FaultFilter),
    ForwardProxy(forward_proxy::ForwardProxyFilter),
    GrpcStats(grpc_stats::GrpcStatsFilter),
    GrpcWeb(grpc_web::GrpcWebFilter),
    HeaderMutation(header_mutation::HeaderMutationFilter),
    HeaderToMetadata(header_to_metadata::HeaderToMetadataFilter),
    HealthCheck(health_check::HealthCheckFilter),
    IstioStats(istio_stats::IstioStatsFilter),
    JwtAuthn(jwt_authn::JwtAuthnFilter),
    LocalRateLimit(local_ratelimit::LocalRateLimitFilter),
    Missing(missing::MissingFilter),
    OnDemand(on_demand::OnDemandFilter),
    PeerMetadata(peer_metadata::PeerMetadataFilter),
    Rbac(Box<rbac::RbacFilter>),
    SetFilterState(set_metadata::SetFilterStateFilter),
    SetMetadata(set_metadata::SetMetadataFilter),
}

impl Filter {
    /// The filter for a configuration; none for the router and for what has no effect.
    ///
    /// # Errors
    /// When a header's value is no valid format.
    pub(crate) fn new(
        kind: &ir::HttpFilterKind,
        parts: &FilterParts<'_>,
    ) -> Result<Option<Self>, MutationError> {
        use ir::HttpFilterKind as Kind;
        Ok(Some(match kind {
            Kind::Alpn(overrides) => Self::Alpn(alpn::AlpnFilter::new(overrides.clone())),
            Kind::Cors => Self::Cors(cors::CorsFilter::new(parts)),
            Kind::IstioStats(config) => {
                Self::IstioStats(istio_stats::IstioStatsFilter::new(config.clone()))
            }
            Kind::PeerMetadata(config) => {
                Self::PeerMetadata(peer_metadata::PeerMetadataFilter::new(config.clone()))
            }
            Kind::Fault(config) => Self::Fault(fault::FaultFilter::new(config.clone(), parts)),
            Kind::HeaderMutation {
                mutations,
                most_specific_wins,
            } => Self::HeaderMutation(header_mutation::HeaderMutationFilter::new(
                mutations,
                *most_specific_wins,
            )?),
            Kind::LocalRateLimit(config) => {
                Self::LocalRateLimit(local_ratelimit::LocalRateLimitFilter::new(config, parts)?)
            }
            Kind::Buffer(most) => Self::Buffer(buffer::BufferFilter::new(*most)),
            Kind::HeaderToMetadata(config) => Self::HeaderToMetadata(
                header_to_metadata::HeaderToMetadataFilter::new(config.clone()),
            ),
            Kind::SetFilterState(config) => {
                Self::SetFilterState(set_metadata::SetFilterStateFilter::new(config)?)
            }
            Kind::SetMetadata(config) => {
                Self::SetMetadata(set_metadata::SetMetadataFilter::new(config.clone()))
            }
            Kind::HealthCheck(config) => {
                Self::HealthCheck(health_check::HealthCheckFilter::new(config.clone()))
            }
            Kind::Compressor(config) => {
                Self::Compressor(compressor::CompressorFilter::new(config.clone(), parts))
            }
            Kind::Decompressor(config) => {
                Self::Decompressor(decompressor::DecompressorFilter::new(config.clone(), parts))
            }
            Kind::Rbac(config) => Self::Rbac(Box::new(rbac::RbacFilter::new(config, parts))),
            Kind::GrpcWeb => Self::GrpcWeb(grpc_web::GrpcWebFilter),
            Kind::GrpcStats(config) => {
                Self::GrpcStats(grpc_stats::GrpcStatsFilter::new(config.clone(), parts))
            }
            Kind::ExtAuthz(config) => {
                Self::ExtAuthz(ext_authz::ExtAuthzFilter::new(config.clone(), parts)?)
            }
            Kind::JwtAuthn(config) => {
                Self::JwtAuthn(jwt_authn::JwtAuthnFilter::new(config.clone(), parts))
            }
            Kind::OnDemand => Self::OnDemand(on_demand::OnDemandFilter::new(parts.routes.clone())),
            Kind::ForwardProxy => Self::ForwardProxy(forward_proxy::ForwardProxyFilter),
            Kind::Missing => Self::Missing(missing::MissingFilter),
            Kind::Router(_) | Kind::Inert => return Ok(None),
        }))
    }

    /// Whether it wants to be told of finished streams.
    pub(crate) fn wants_record(&self) -> bool {
        matches!(self, Self::IstioStats(_))
    }
}
