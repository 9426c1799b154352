//! Listener filters: what looks at a connection before a chain is chosen.

use meltemi_xds::pb::envoy::config::listener::v3::{ListenerFilter, listener_filter::ConfigType};
use meltemi_xds::pb::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst,
    original_src::v3::OriginalSrc, proxy_protocol::v3::ProxyProtocol,
    tls_inspector::v3::TlsInspector,
};
use prost::{Message, Name};

use crate::proto::pack;

/// The mark of packets that the proxy sends under its client's address.
const ORIGINAL_SOURCE_MARK: u32 = 1337;

/// Reads server name and ALPN from a ClientHello.
pub(crate) fn tls_inspector() -> ListenerFilter {
    filter(
        "envoy.filters.listener.tls_inspector",
        &TlsInspector::default(),
    )
}

/// Tells HTTP from anything else.
pub(crate) fn http_inspector() -> ListenerFilter {
    filter(
        "envoy.filters.listener.http_inspector",
        &HttpInspector::default(),
    )
}

/// Reads the destination before interception.
pub(crate) fn original_destination() -> ListenerFilter {
    filter(
        "envoy.filters.listener.original_dst",
        &OriginalDst::default(),
    )
}

/// Reads who the client is from what a proxy before writes first.
pub(crate) fn proxy_protocol() -> ListenerFilter {
    filter(
        "envoy.filters.listener.proxy_protocol",
        &ProxyProtocol::default(),
    )
}

/// Connects under the client's address.
pub(crate) fn original_source() -> ListenerFilter {
    let config = OriginalSrc {
        mark: ORIGINAL_SOURCE_MARK,
        ..Default::default()
    };
    filter("envoy.filters.listener.original_src", &config)
}

fn filter<M: Message + Name>(name: &str, config: &M) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(config))),
        ..Default::default()
    }
}
