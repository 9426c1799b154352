//! Virtual services.
//!
//! In: Istio VirtualService (`networking.istio.io`). Out: [`VirtualService`] (FEATURES T4 to T10,
//! R5, R6).

mod action;
mod convert;
mod convert_action;
mod convert_cors;
mod convert_fault;
mod convert_l4;
mod convert_match;
mod convert_retry;
mod fault;
mod l4;
mod matching;
mod retry;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{ExportTo, Hostname, Metadata, NamespaceName};

pub(crate) use convert::{SUPPORT, convert};
pub(crate) use convert_action::convert_destination;
pub(crate) use convert_retry::convert_retry;

pub use action::{
    CorsPolicy, DelegateName, Destination, DirectResponse, HeaderOperations, HttpAction,
    MessageHeaderOperations, Redirect, RedirectPort, ResponseBody, Rewrite, UnmatchedPreflights,
    UriRewrite, WeightedDestination,
};
pub use fault::{Fault, FaultAbort, FaultDelay, FaultStatus, Mirror, Percentage};
pub use l4::{L4Destination, L4Match, TcpRoute, TlsRoute};
pub use matching::{HeaderMatch, HttpMatch};
pub use retry::{RetryOn, RetryPolicy};

/// A valid Istio VirtualService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualService {
    /// Its metadata.
    pub meta: Metadata,
    /// The hosts it is for; none if it is a delegate. Short names are fully qualified.
    pub hosts: Vec<Hostname>,
    /// Where it applies; `[Mesh]` unless written.
    pub gateways: Vec<GatewayRef>,
    /// Its HTTP routes; the first that matches wins.
    pub http: Vec<HttpRoute>,
    /// Its routes of TLS that is not opened.
    pub tls: Vec<TlsRoute>,
    /// Its routes of bytes.
    pub tcp: Vec<TcpRoute>,
    /// Who sees it.
    pub export_to: ExportTo,
}

/// Where a route applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GatewayRef {
    /// `mesh`: every sidecar.
    Mesh,
    /// A Gateway resource.
    Gateway(GatewayName),
}

/// The full name of a Gateway resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayName {
    /// Its namespace, the virtual service's own unless written.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: Arc<str>,
}

/// One entry of `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRoute {
    /// `name`, for logs and reference.
    pub name: Option<String>,
    /// Any of these must match; empty matches everything.
    pub matches: Vec<HttpMatch>,
    /// What is done with a matching request.
    pub action: HttpAction,
    /// How the request is rewritten before it is forwarded.
    pub rewrite: Option<Rewrite>,
    /// `timeout`, at least a millisecond; `None` means no timeout.
    pub timeout: Option<Duration>,
    /// `retries`; `None` leaves the mesh's default policy.
    pub retries: Option<RetryPolicy>,
    /// Header operations for every destination of the route.
    pub headers: HeaderOperations,
    /// `corsPolicy`.
    pub cors: Option<CorsPolicy>,
    /// `fault`.
    pub fault: Option<Fault>,
    /// `mirrors`, and the older `mirror`.
    pub mirrors: Vec<Mirror>,
}

impl VirtualService {
    /// Whether it applies at `gateway`.
    pub fn applies_at(&self, gateway: &GatewayRef) -> bool {
        self.gateways.contains(gateway)
    }
}

impl HttpRoute {
    /// The matches that count at `gateway`: those that name it or name none, the virtual service's
    /// own list having been asked before. `None` if the route has matches and none of them counts
    /// there, so that the route does not exist there; an empty list matches everything.
    pub fn matches_at(&self, gateway: &GatewayRef) -> Option<Vec<&HttpMatch>> {
        let here: Vec<_> = self
            .matches
            .iter()
            .filter(|it| it.gateways.is_empty() || it.gateways.contains(gateway))
            .collect();
        (self.matches.is_empty() || !here.is_empty()).then_some(here)
    }
}

impl fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Gateway(name) => write!(f, "{name}"),
        }
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
