//! Sends a described call through generated configuration, without sockets.
//!
//! In: the listeners and route tables made for one proxy, and a [`Call`]. Out: an [`Outcome`]: which
//! listener, chain, virtual host, route and cluster it met, and the [`CallError`] that ended it. The
//! rules are those of Istio's traffic simulation, so that its cases can judge a control plane: see
//! `chain`, `tls` and `route` for one step each, and `invariant` for what must hold of the
//! configuration whatever the call.

mod chain;
pub mod invariant;
mod route;
mod tls;

use std::collections::BTreeMap;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use prost::{Message, Name};

pub use tls::{ExpectedTls, SocketSummary, socket_summary};

const HTTP: &str = "envoy.filters.network.http_connection_manager";
const TCP: &str = "envoy.filters.network.tcp_proxy";

/// What the caller speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// Bytes.
    #[default]
    Tcp,
}

/// What the caller wraps it in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallTls {
    /// Nothing.
    #[default]
    Plaintext,
    /// TLS with no client certificate.
    Tls,
    /// The mesh's mutual TLS.
    Mutual,
}

/// Where the call meets the proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallMode {
    /// At a gateway, or on its way out of a workload.
    #[default]
    Outbound,
    /// On its way to the workload.
    Inbound,
}

/// A call. [`Call::default`] and the fields that matter describe one.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The address it goes to; `None` means no particular one.
    pub address: Option<String>,
    /// The port it goes to.
    pub port: u16,
    /// The path; `/` if empty.
    pub path: String,
    /// What is spoken.
    pub protocol: CallProtocol,
    /// What it is wrapped in.
    pub tls: CallTls,
    /// The ALPN; by protocol and TLS if empty.
    pub alpn: String,
    /// The server name; that of the host header for plain TLS if empty.
    pub sni: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// Where it meets the proxy.
    pub mode: CallMode,
    /// The name of the certificate by which a chain counts as one of mutual TLS; `default` if empty.
    pub mutual_certificate: Option<String>,
    /// What the chain's TLS must be, besides.
    pub expected_tls: Vec<ExpectedTls>,
}

/// Why a call ends before it reaches a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the names are the description")]
pub enum CallError {
    #[error("ErrNoListener")]
    NoListener,
    #[error("ErrNoFilterChain")]
    NoFilterChain,
    #[error("ErrMultipleFilterChain")]
    MultipleFilterChain,
    #[error("ErrTLSError")]
    Tls,
    #[error("ErrMTLSError")]
    MutualTls,
    #[error("ErrProtocolError")]
    Protocol,
    #[error("ErrNoVirtualHost")]
    NoVirtualHost,
    #[error("ErrTLSRedirect")]
    TlsRedirect,
    #[error("ErrNoRoute")]
    NoRoute,
    /// An ALPN in plain text.
    #[error("an ALPN needs TLS")]
    AlpnInPlaintext,
    /// The chain's TLS is not the expected one.
    #[error("unexpected TLS settings")]
    UnexpectedTls,
    /// The listeners name a route table that is not there, or a filter that cannot be read.
    #[error("broken configuration")]
    Broken,
}

/// What a call met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended early.
    pub error: Option<CallError>,
    /// The listener.
    pub listener: String,
    /// The filter chain.
    pub filter_chain: String,
    /// The route table, where it is not inline.
    pub route_config: String,
    /// The virtual host.
    pub virtual_host: String,
    /// The route.
    pub route: String,
    /// The cluster.
    pub cluster: String,
}

/// The configuration of one proxy.
#[derive(Debug, Clone, Default)]
pub struct Simulation {
    /// Its listeners, in order.
    pub listeners: Vec<Listener>,
    /// Its route tables by name.
    pub routes: BTreeMap<String, RouteConfiguration>,
}

impl Simulation {
    /// Sends a call through.
    pub fn run(&self, call: &Call) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.walk(call, &mut outcome) {
            outcome.error = Some(error);
        }
        outcome
    }

    fn walk(&self, call: &Call, outcome: &mut Outcome) -> Result<(), CallError> {
        let mut call = with_defaults(call);
        if call.tls == CallTls::Plaintext && !call.alpn.is_empty() {
            return Err(CallError::AlpnInPlaintext);
        }
        let listener = chain::listener(&self.listeners, &call).ok_or(CallError::NoListener)?;
        outcome.listener.clone_from(&listener.name);
        let sees_tls = chain::inspects(listener, chain::TLS_INSPECTOR, call.port);
        if !sees_tls {
            call.alpn.clear();
        }
        let sees_http = chain::inspects(listener, chain::HTTP_INSPECTOR, call.port);
        if sees_http && call.tls == CallTls::Plaintext {
            match call.protocol {
                CallProtocol::Http => "http/1.1".clone_into(&mut call.alpn),
                CallProtocol::Http2 => "h2c".clone_into(&mut call.alpn),
                CallProtocol::Tcp => {}
            }
        }
        let chain = chain::choose(listener, &call, sees_tls)?;
        outcome.filter_chain.clone_from(&chain.name);
        let terminates = chain.transport_socket.is_some();
        tls::check(chain, &call)?;
        let unexpected = call
            .expected_tls
            .iter()
            .any(|it| !it.holds(chain.transport_socket.as_ref()));
        let done = self.filters(chain, &call, terminates, outcome);
        match unexpected {
            true => Err(CallError::UnexpectedTls),
            false => done,
        }
    }

    fn filters(
        &self,
        chain: &FilterChain,
        call: &Call,
        terminates: bool,
        outcome: &mut Outcome,
    ) -> Result<(), CallError> {
        if let Some(manager) = manager_of(chain) {
            if call.tls != CallTls::Plaintext && !terminates {
                return Err(CallError::Protocol);
            }
            if call.protocol == CallProtocol::Tcp {
                return Err(CallError::Protocol);
            }
            let inline;
            let table = match manager?.route_specifier {
                Some(RouteSpecifier::RouteConfig(table)) => {
                    inline = table;
                    &inline
                }
                Some(RouteSpecifier::Rds(rds)) => {
                    outcome.route_config.clone_from(&rds.route_config_name);
                    let found = self.routes.get(&rds.route_config_name);
                    found.ok_or(CallError::Broken)?
                }
                Some(RouteSpecifier::ScopedRoutes(_)) | None => return Err(CallError::Broken),
            };
            return route::choose(table, call, outcome);
        }
        let Some(proxy) = chain.filters.iter().find(|it| it.name == TCP) else {
            return Ok(());
        };
        let proxy: TcpProxy = unpack(proxy)?;
        if let Some(ClusterSpecifier::Cluster(cluster)) = proxy.cluster_specifier {
            outcome.cluster = cluster;
        }
        Ok(())
    }
}

/// The HTTP connection manager of a chain, if it has one.
fn manager_of(chain: &FilterChain) -> Option<Result<HttpConnectionManager, CallError>> {
    let filter = chain.filters.iter().find(|it| it.name == HTTP)?;
    Some(unpack(filter))
}

fn unpack<M: Message + Name + Default>(filter: &Filter) -> Result<M, CallError> {
    match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => {
            any::unpack(config).map_err(|_| CallError::Broken)
        }
        Some(filter::ConfigType::ConfigDiscovery(_)) | None => Err(CallError::Broken),
    }
}

fn with_defaults(call: &Call) -> Call {
    let mut call = call.clone();
    if call.sni.is_empty() && call.tls == CallTls::Tls {
        call.sni = call.host.clone().unwrap_or_default();
    }
    if call.path.is_empty() {
        "/".clone_into(&mut call.path);
    }
    if call.alpn.is_empty() {
        let alpn = match (call.tls, call.protocol) {
            (CallTls::Plaintext, _) | (CallTls::Tls, CallProtocol::Tcp) => "",
            (CallTls::Tls, CallProtocol::Http) => "http/1.1",
            (CallTls::Tls, CallProtocol::Http2) => "h2",
            (CallTls::Mutual, CallProtocol::Http) => "istio-http/1.1",
            (CallTls::Mutual, CallProtocol::Http2) => "istio-h2",
            (CallTls::Mutual, CallProtocol::Tcp) => "istio",
        };
        alpn.clone_into(&mut call.alpn);
    }
    call
}

#[cfg(test)]
mod tests;
