//! How HTTP is spoken to a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_ir::{FromRequest, UpstreamHttp, UpstreamProtocol};
use meltemi_xds::pb::envoy::config::cluster::v3::cluster::ClusterProtocolSelection;
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::upstream_codec::v3::UpstreamCodec;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use meltemi_xds::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    AutoHttpConfig, ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
};
use prost_types::Any;

use crate::extension::{Extension, Known, empty_message, inner_type, unpack};
use crate::fields::fields;
use crate::header::header_name;
use crate::http_options::{common, http1, http2, refuse_downstream_only};
use crate::path::At;
use crate::scalar::enumeration;

/// The one type of `typed_extension_protocol_options`, which is also its key.
pub(crate) const HTTP_PROTOCOL_OPTIONS: &str =
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The HTTP filters of upstream requests.
pub(crate) static UPSTREAM_HTTP_FILTERS: &[Known<UpstreamHttpFilter>] = &[Known {
    name: "envoy.filters.http.upstream_codec",
    type_name: "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
    convert: upstream_codec,
}];

/// Checks the configuration of an upstream HTTP filter.
pub(crate) type UpstreamHttpFilter = fn(Option<&Any>, &At<'_>) -> Option<()>;

empty_message!(upstream_codec, UpstreamCodec);

/// The fields of a cluster that say how HTTP is spoken.
pub(super) struct Fields<'a> {
    pub(super) typed: &'a BTreeMap<String, Any>,
    pub(super) common: Option<&'a core_v3::HttpProtocolOptions>,
    pub(super) http1: Option<&'a core_v3::Http1ProtocolOptions>,
    pub(super) http2: Option<&'a core_v3::Http2ProtocolOptions>,
    pub(super) from_request: Option<&'a core_v3::UpstreamHttpProtocolOptions>,
    pub(super) protocol_selection: i32,
    pub(super) max_requests_per_connection: Option<u32>,
}

/// What comes of them.
pub(super) struct Upstream {
    pub(super) http: UpstreamHttp,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_requests_per_connection: u32,
    pub(super) max_connection_duration: Option<Duration>,
}

impl Upstream {
    /// Has servers prove the name that each request asks for: where nothing is written that is so, and
    /// where something is written it must say so.
    pub(super) fn verify_names(&mut self, is_written: bool, at: &At<'_>) {
        let from_request = &mut self.http.from_request;
        if !is_written {
            from_request.server_name = true;
            from_request.subject = true;
        }
        if !(from_request.server_name && from_request.subject) {
            let at = at.field("typed_extension_protocol_options");
            at.key(HTTP_PROTOCOL_OPTIONS).problem(
                "needs upstream_http_protocol_options with auto_sni and auto_san_validation, \
                 or set allow_insecure_cluster_options of the cluster type",
            );
        }
    }
}

/// How HTTP is spoken; `at` is the cluster.
pub(super) fn upstream_http(fields: &Fields<'_>, at: &At<'_>) -> Upstream {
    let at_typed = &at.field("typed_extension_protocol_options");
    let mut typed = None;
    for (key, config) in fields.typed {
        let at = &at_typed.key(key);
        let name = inner_type(config);
        if key == HTTP_PROTOCOL_OPTIONS && name == HTTP_PROTOCOL_OPTIONS {
            typed = unpack(Some(config), at).map(|message| options(&message, at));
        } else {
            at.problem(format_args!("type {name} is not supported"));
        }
    }
    let (http, common_options) = match typed {
        Some(Typed { http, common }) => (http, common),
        None => (older(fields, at), None),
    };
    let (common_options, at_common) = match &common_options {
        Some(message) => (Some(message), at_typed.key(HTTP_PROTOCOL_OPTIONS)),
        None => (fields.common, *at),
    };
    let at_common = &at_common.field("common_http_protocol_options");
    refuse_downstream_only(common_options, at_common);
    let common = common(common_options, at_common);
    Upstream {
        http,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_requests_per_connection: common
            .max_requests_per_connection
            .or(fields.max_requests_per_connection)
            .unwrap_or(0),
    }
}

/// The older fields of the cluster itself.
fn older(fields: &Fields<'_>, at: &At<'_>) -> UpstreamHttp {
    let selection = enumeration(fields.protocol_selection, &at.field("protocol_selection"));
    let protocol = match (selection, fields.http2) {
        (Some(ClusterProtocolSelection::UseDownstreamProtocol), _) => UpstreamProtocol::Downstream,
        (_, Some(_)) => UpstreamProtocol::Http2,
        (_, None) => UpstreamProtocol::Http1,
    };
    UpstreamHttp {
        protocol,
        http1: http1(fields.http1, &at.field("http_protocol_options")),
        http2: http2(fields.http2, &at.field("http2_protocol_options")),
        from_request: from_request(
            fields.from_request,
            &at.field("upstream_http_protocol_options"),
        ),
    }
}

/// What of TLS each request decides.
fn from_request(
    message: Option<&core_v3::UpstreamHttpProtocolOptions>,
    at: &At<'_>,
) -> FromRequest {
    let Some(message) = message else {
        return FromRequest::default();
    };
    fields!(at, message, core_v3::UpstreamHttpProtocolOptions {
        honoured { auto_sni, auto_san_validation, override_auto_sni_header }
    });
    FromRequest {
        server_name: *auto_sni,
        subject: *auto_san_validation,
        header: match override_auto_sni_header.as_str() {
            "" => None,
            name => header_name(name, &at.field("override_auto_sni_header")),
        },
    }
}

struct Typed {
    http: UpstreamHttp,
    common: Option<core_v3::HttpProtocolOptions>,
}

fn options(message: &HttpProtocolOptions, at: &At<'_>) -> Typed {
    fields!(at, message, HttpProtocolOptions {
        honoured { common_http_protocol_options, upstream_http_protocol_options }
        partly { http_filters: "the codec" }
        oneof { upstream_protocol_options {
            explicit_http_config: Honoured "",
            use_downstream_protocol_config: Honoured "",
            auto_config: Honoured "",
        } }
        refused {
            retry_policy: "set it on the route",
        }
        unsupported {
            header_validation_config, outlier_detection, request_mirror_policies, hash_policy,
        }
    });
    at.field("http_filters").each(http_filters, filter);
    let http = match upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(message)) => {
            explicit(message, &at.field("explicit_http_config"))
        }
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(message)) => {
            use_downstream(message, &at.field("use_downstream_protocol_config"))
        }
        Some(UpstreamProtocolOptions::AutoConfig(message)) => {
            auto(message, &at.field("auto_config"))
        }
        None => {
            at.problem("needs explicit_http_config, use_downstream_protocol_config or auto_config");
            UpstreamHttp::default()
        }
    };
    let at = &at.field("upstream_http_protocol_options");
    let from_request = from_request(upstream_http_protocol_options.as_ref(), at);
    Typed {
        http: UpstreamHttp {
            from_request,
            ..http
        },
        common: *common_http_protocol_options,
    }
}

fn filter(message: &HttpFilter, at: &At<'_>) -> Option<()> {
    if message.disabled {
        at.field("disabled").refuse("leave the filter out");
    }
    let config = match &message.config_type {
        Some(ConfigType::TypedConfig(config)) => Some(config),
        Some(ConfigType::ConfigDiscovery(_)) => {
            at.field("config_discovery").refuse("");
            return None;
        }
        None => None,
    };
    let name = message.name.as_str();
    let known = Extension { name, config }.find(UPSTREAM_HTTP_FILTERS, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn explicit(message: &ExplicitHttpConfig, at: &At<'_>) -> UpstreamHttp {
    fields!(at, message, ExplicitHttpConfig {
        oneof { protocol_config {
            http_protocol_options: Honoured "",
            http2_protocol_options: Honoured "",
            http3_protocol_options: Refused "",
        } }
    });
    match protocol_config {
        Some(ProtocolConfig::HttpProtocolOptions(message)) => UpstreamHttp {
            protocol: UpstreamProtocol::Http1,
            http1: http1(Some(message), &at.field("http_protocol_options")),
            ..UpstreamHttp::default()
        },
        Some(ProtocolConfig::Http2ProtocolOptions(message)) => UpstreamHttp {
            protocol: UpstreamProtocol::Http2,
            http2: http2(Some(message), &at.field("http2_protocol_options")),
            ..UpstreamHttp::default()
        },
        Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
            at.field("http3_protocol_options").refuse("");
            UpstreamHttp::default()
        }
        None => {
            at.problem("needs http_protocol_options or http2_protocol_options");
            UpstreamHttp::default()
        }
    }
}

fn use_downstream(message: &UseDownstreamHttpConfig, at: &At<'_>) -> UpstreamHttp {
    fields!(at, message, UseDownstreamHttpConfig {
        honoured { http_protocol_options, http2_protocol_options }
        unsupported { http3_protocol_options }
    });
    UpstreamHttp {
        protocol: UpstreamProtocol::Downstream,
        http1: http1(
            http_protocol_options.as_ref(),
            &at.field("http_protocol_options"),
        ),
        http2: http2(
            http2_protocol_options.as_ref(),
            &at.field("http2_protocol_options"),
        ),
        ..UpstreamHttp::default()
    }
}

fn auto(message: &AutoHttpConfig, at: &At<'_>) -> UpstreamHttp {
    fields!(at, message, AutoHttpConfig {
        honoured { http_protocol_options, http2_protocol_options }
        unsupported { http3_protocol_options, alternate_protocols_cache_options }
    });
    UpstreamHttp {
        protocol: UpstreamProtocol::Alpn,
        http1: http1(
            http_protocol_options.as_ref(),
            &at.field("http_protocol_options"),
        ),
        http2: http2(
            http2_protocol_options.as_ref(),
            &at.field("http2_protocol_options"),
        ),
        ..UpstreamHttp::default()
    }
}
