//! Shorthands for the protobuf values that resources are full of.
//!
//! In: plain Rust values. Out: durations, structs, addresses, extensions as Envoy's messages have
//! them. Called by every builder of this crate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, Pipe, SocketAddress,
    TypedExtensionConfig, address,
    config_source::ConfigSourceSpecifier,
    http1_protocol_options::{HeaderKeyFormat, header_key_format::HeaderFormat},
    socket_address::PortSpecifier,
};
use meltemi_xds::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use meltemi_xds::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use prost::{Message, Name};
use prost_types::value::Kind;
use prost_types::{Any, ListValue, Struct, Value};

/// A protobuf duration.
pub(crate) fn duration(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).expect("below a thousand million"),
    }
}

/// HTTP/1 headers as they were written.
pub(crate) fn preserve_case() -> HeaderKeyFormat {
    HeaderKeyFormat {
        header_format: Some(HeaderFormat::StatefulFormatter(TypedExtensionConfig {
            name: "preserve_case".to_owned(),
            typed_config: Some(pack(&PreserveCaseFormatterConfig::default())),
        })),
    }
}

/// A duration of zero, which turns most of Envoy's timeouts off.
pub(crate) fn zero() -> prost_types::Duration {
    duration(Duration::ZERO)
}

/// The socket address `ip:port`.
pub(crate) fn socket(ip: &str, port: u16) -> SocketAddress {
    SocketAddress {
        address: ip.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
        ..Default::default()
    }
}

/// The address `ip:port`.
pub(crate) fn address(ip: &str, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(socket(ip, port))),
    }
}

/// The address of a Unix socket.
pub(crate) fn pipe(path: &str) -> Address {
    Address {
        address: Some(address::Address::Pipe(Pipe {
            path: path.to_owned(),
            mode: 0,
        })),
    }
}

/// `ip` as a host in a URL, in brackets if it is IPv6.
pub(crate) fn url_host(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        Ok(IpAddr::V4(_)) | Err(_) => host.to_owned(),
    }
}

/// The stream on which the resource came itself, waited for without limit.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(zero()),
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// A message for a `typed_config`.
pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    any::pack(message)
}

/// A text as a `google.protobuf.Value`.
pub(crate) fn text(text: impl Into<String>) -> Value {
    Value {
        kind: Some(Kind::StringValue(text.into())),
    }
}

/// A number as a `google.protobuf.Value`.
pub(crate) fn number(number: u16) -> Value {
    Value {
        kind: Some(Kind::NumberValue(f64::from(number))),
    }
}

/// A list as a `google.protobuf.Value`.
pub(crate) fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(Kind::ListValue(ListValue { values })),
    }
}

/// A nested structure as a `google.protobuf.Value`.
pub(crate) fn nested(fields: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(fields)),
    }
}

/// A structure of named values.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Struct {
    Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// Metadata of these filters.
pub(crate) fn metadata(filters: impl IntoIterator<Item = (&'static str, Struct)>) -> Metadata {
    Metadata {
        filter_metadata: filters
            .into_iter()
            .map(|(name, fields)| (name.to_owned(), fields))
            .collect(),
        typed_filter_metadata: BTreeMap::new(),
    }
}

/// A regular expression.
pub(crate) fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher {
        regex: regex.to_owned(),
        ..Default::default()
    }
}

/// A comparison of strings, as VirtualService writes it.
pub(crate) fn string_match(wanted: &meltemi_model::StringMatch) -> StringMatcher {
    use meltemi_model::StringMatch;
    let pattern = match wanted {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(text) => MatchPattern::SafeRegex(regex(text)),
    };
    matching(pattern)
}

/// A case-sensitive comparison of strings.
pub(crate) fn matching(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        ignore_case: false,
        match_pattern: Some(pattern),
    }
}
