//! How a cluster speaks HTTP.
//!
//! In: the port's protocol, then what the traffic policy adds. Out: the typed extension protocol
//! options, or nothing where Envoy's defaults (HTTP/1.1) do.

use std::collections::BTreeMap;

use meltemi_model::Protocol;
use meltemi_xds::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions,
    KeepaliveSettings, UpstreamHttpProtocolOptions,
};
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    },
};
use prost_types::Any;

use crate::proto::{pack, preserve_case};
use crate::scope::Scope;

/// The key of these options in a cluster.
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// That of the request that came in.
    Downstream,
}

/// A cluster's HTTP options in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct HttpOptions {
    /// The version.
    pub version: Version,
    /// Streams at a time on an HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// Whether the server still answers on an HTTP/2 connection.
    pub keepalive: Option<KeepaliveSettings>,
    /// Time-outs and limits of connections.
    pub common: Option<CommonOptions>,
    /// What TLS takes from the request.
    pub upstream: Option<UpstreamHttpProtocolOptions>,
    /// HTTP/1 headers keep the case in which they were written.
    pub preserve_case: bool,
}

impl HttpOptions {
    /// What a port's protocol asks for; where it is not known, `sniffed` says whether the version of
    /// the incoming request is taken.
    pub fn of(protocol: Protocol, sniffed: bool, scope: &Scope<'_>) -> Self {
        let version = match protocol {
            it if it.is_http2() => Version::Http2,
            Protocol::Auto if sniffed => Version::Downstream,
            _ => Version::Http1,
        };
        let speaks_http1 = protocol == Protocol::Auto || protocol.is_http() && !protocol.is_http2();
        Self {
            version,
            preserve_case: speaks_http1 && scope.proxy_headers().preserve_case,
            ..Self::default()
        }
    }

    /// Whether HTTP/2 is spoken whatever the request's version.
    pub fn is_http2(&self) -> bool {
        self.version == Version::Http2
    }

    /// The options as a cluster has them.
    pub fn build(self) -> BTreeMap<String, Any> {
        let plain = self.version == Version::Http1;
        if plain && self.common.is_none() && self.upstream.is_none() && !self.preserve_case {
            return BTreeMap::new();
        }
        let http1 = Http1ProtocolOptions {
            header_key_format: self.preserve_case.then(preserve_case),
            ..Default::default()
        };
        let http2 = Http2ProtocolOptions {
            max_concurrent_streams: self.max_concurrent_streams,
            connection_keepalive: self.keepalive,
            ..Default::default()
        };
        let explicit = |config| {
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
                protocol_config: Some(config),
            })
        };
        let options = HttpProtocolOptions {
            common_http_protocol_options: self.common,
            upstream_http_protocol_options: self.upstream,
            upstream_protocol_options: Some(match self.version {
                Version::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(http1)),
                Version::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
                Version::Downstream => {
                    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                        http_protocol_options: Some(http1),
                        http2_protocol_options: Some(http2),
                        http3_protocol_options: None,
                    })
                }
            }),
            ..Default::default()
        };
        BTreeMap::from([(KEY.to_owned(), pack(&options))])
    }
}
