//! HTTP protocol settings, which connection managers and clusters share.

use std::time::Duration;

use meltemi_ir::{Http1Options, Http2Keepalive, Http2Options, Underscores};
use meltemi_xds::pb::envoy::config::core::v3::http_protocol_options::HeadersWithUnderscoresAction;
use meltemi_xds::pb::envoy::config::core::v3::http1_protocol_options::HeaderKeyFormat;
use meltemi_xds::pb::envoy::config::core::v3::http1_protocol_options::header_key_format::{
    HeaderFormat, ProperCaseWords,
};
use meltemi_xds::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
    TypedExtensionConfig,
};
use meltemi_xds::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use prost_types::Any;

use crate::extension::{Extension, Known, unpack};
use crate::fields::fields;
use crate::path::At;
use crate::scalar::{duration, enumeration, limit, positive, within};

/// The formatters of HTTP/1 header names.
pub(crate) static HEADER_FORMATTERS: &[Known<Formatter>] = &[Known {
    name: "preserve_case",
    type_name: "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
    convert: |config, at| preserve_case(&unpack(config, at)?, at),
}];

/// Checks the configuration of a formatter.
pub(crate) type Formatter = fn(Option<&Any>, &At<'_>) -> Option<()>;

/// [`HttpProtocolOptions`], converted.
#[derive(Clone, Debug)]
pub(crate) struct CommonHttp {
    /// An hour unless set, none when off.
    pub(crate) idle_timeout: Option<Duration>,
    /// None unless set.
    pub(crate) max_connection_duration: Option<Duration>,
    /// None unless set.
    pub(crate) max_stream_duration: Option<Duration>,
    /// 100 unless set.
    pub(crate) max_headers_count: u32,
    /// None unless set.
    pub(crate) max_requests_per_connection: Option<u32>,
    /// Allowed unless set.
    pub(crate) underscores: Underscores,
}

/// Settings of every HTTP version; `None` gives the defaults.
pub(crate) fn common(message: Option<&HttpProtocolOptions>, at: &At<'_>) -> CommonHttp {
    let default = HttpProtocolOptions::default();
    let message = message.unwrap_or(&default);
    fields!(at, message, HttpProtocolOptions {
        honoured { idle_timeout, max_requests_per_connection, max_connection_duration }
        partly {
            max_headers_count: "downstream",
            max_stream_duration: "downstream",
            headers_with_underscores_action: "downstream",
        }
        unsupported { max_connection_duration_jitter, max_response_headers_kb }
    });
    CommonHttp {
        idle_timeout: limit(
            idle_timeout.as_ref(),
            Some(Duration::from_secs(3600)),
            &at.field("idle_timeout"),
        ),
        max_connection_duration: limit(
            max_connection_duration.as_ref(),
            None,
            &at.field("max_connection_duration"),
        ),
        max_stream_duration: limit(
            max_stream_duration.as_ref(),
            None,
            &at.field("max_stream_duration"),
        ),
        max_headers_count: within(
            *max_headers_count,
            100,
            1..=u32::MAX,
            &at.field("max_headers_count"),
        ),
        max_requests_per_connection: *max_requests_per_connection,
        underscores: match enumeration(
            *headers_with_underscores_action,
            &at.field("headers_with_underscores_action"),
        ) {
            Some(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
            Some(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
            Some(HeadersWithUnderscoresAction::Allow) | None => Underscores::Allow,
        },
    }
}

/// Refuses what only a connection manager may set.
pub(crate) fn refuse_downstream_only(message: Option<&HttpProtocolOptions>, at: &At<'_>) {
    let Some(message) = message else { return };
    for (field, set) in [
        ("max_headers_count", message.max_headers_count.is_some()),
        ("max_stream_duration", message.max_stream_duration.is_some()),
        (
            "headers_with_underscores_action",
            message.headers_with_underscores_action != 0,
        ),
    ] {
        if set {
            at.field(field).refuse("for upstream connections");
        }
    }
}

/// HTTP/1 settings; `None` gives the defaults.
pub(crate) fn http1(message: Option<&Http1ProtocolOptions>, at: &At<'_>) -> Http1Options {
    let default = Http1ProtocolOptions::default();
    let message = message.unwrap_or(&default);
    fields!(at, message, Http1ProtocolOptions {
        honoured { accept_http_10, default_host_for_http_10, enable_trailers }
        partly {
            allow_absolute_url: "true",
            header_key_format: "proper_case_words, and stateful_formatter with preserve_case",
        }
        refused {
            allow_chunked_length: "it opens the door to request smuggling",
        }
        unsupported { send_fully_qualified_url, ignore_http_11_upgrade }
        ignored {
            override_stream_error_on_invalid_http_message: "a malformed message ends an HTTP/1 connection",
            use_balsa_parser: "there is one parser",
            allow_custom_methods: "every method that is a token is allowed",
        }
    });
    if *allow_absolute_url == Some(false) {
        at.field("allow_absolute_url").refuse("only true is");
    }
    let (preserve_case, proper_case) = match header_key_format {
        Some(message) => key_format(message, &at.field("header_key_format")),
        None => (false, false),
    };
    Http1Options {
        accept_http_10: *accept_http_10,
        default_host_for_http_10: default_host_for_http_10.clone(),
        trailers: *enable_trailers,
        preserve_case,
        proper_case,
    }
}

/// Whether names keep their case, and whether their words begin with capitals.
fn key_format(message: &HeaderKeyFormat, at: &At<'_>) -> (bool, bool) {
    fields!(at, message, HeaderKeyFormat {
        oneof { header_format {
            stateful_formatter: Partly "preserve_case",
            proper_case_words: Honoured "",
        } }
    });
    match header_format {
        Some(HeaderFormat::StatefulFormatter(message)) => {
            let at = &at.field("stateful_formatter");
            let found = typed_extension(message, HEADER_FORMATTERS, at)
                .and_then(|(known, config)| (known.convert)(config, &at.field("typed_config")));
            (found.is_some(), false)
        }
        Some(HeaderFormat::ProperCaseWords(message)) => {
            fields!(at, message, ProperCaseWords {});
            (false, true)
        }
        None => {
            at.problem("needs a stateful_formatter or proper_case_words");
            (false, false)
        }
    }
}

fn preserve_case(message: &PreserveCaseFormatterConfig, at: &At<'_>) -> Option<()> {
    fields!(at, message, PreserveCaseFormatterConfig {
        partly { formatter_type_on_envoy_headers: "DEFAULT" }
        unsupported { forward_reason_phrase }
    });
    if *formatter_type_on_envoy_headers != 0 {
        at.field("formatter_type_on_envoy_headers")
            .refuse("only DEFAULT is");
    }
    Some(())
}

/// An extension by [`TypedExtensionConfig`], found among those that the proxy has.
pub(crate) fn typed_extension<'k, 'm, F>(
    message: &'m TypedExtensionConfig,
    known: &'k [Known<F>],
    at: &At<'_>,
) -> Option<(&'k Known<F>, Option<&'m Any>)> {
    fields!(at, message, TypedExtensionConfig { honoured { name, typed_config } });
    let config = typed_config.as_ref();
    Extension { name, config }
        .find(known, at)
        .map(|known| (known, config))
}

/// HTTP/2 settings; `None` gives the defaults.
pub(crate) fn http2(message: Option<&Http2ProtocolOptions>, at: &At<'_>) -> Http2Options {
    let default = Http2ProtocolOptions::default();
    let message = message.unwrap_or(&default);
    fields!(at, message, Http2ProtocolOptions {
        honoured {
            max_concurrent_streams, initial_stream_window_size, initial_connection_window_size,
            allow_connect, connection_keepalive,
        }
        unsupported { allow_metadata, custom_settings_parameters, disallow_obs_text }
        ignored {
            hpack_table_size: "it only changes how well headers are compressed",
            enable_huffman_encoding: "it only changes how well headers are compressed",
            max_outbound_frames: "the codec has limits of its own against floods",
            max_outbound_control_frames: "the codec has limits of its own against floods",
            max_consecutive_inbound_frames_with_empty_payload: "the codec has limits of its own against floods",
            max_inbound_priority_frames_per_stream: "the codec has limits of its own against floods",
            max_inbound_window_update_frames_per_data_frame_sent: "the codec has limits of its own against floods",
            stream_reset_burst: "the codec has limits of its own against floods",
            stream_reset_rate: "the codec has limits of its own against floods",
            stream_error_on_invalid_http_messaging: "a malformed message ends its stream",
            override_stream_error_on_invalid_http_message: "a malformed message ends its stream",
            use_oghttp2_codec: "there is one codec",
            max_metadata_size: "METADATA frames are refused",
            max_header_field_size_kb: "headers are limited as a whole",
        }
    });
    let default = Http2Options::default();
    let windows = 65_535..=0x7fff_ffff;
    Http2Options {
        max_concurrent_streams: within(
            *max_concurrent_streams,
            default.max_concurrent_streams,
            1..=0x7fff_ffff,
            &at.field("max_concurrent_streams"),
        ),
        initial_stream_window: within(
            *initial_stream_window_size,
            default.initial_stream_window,
            windows.clone(),
            &at.field("initial_stream_window_size"),
        ),
        initial_connection_window: within(
            *initial_connection_window_size,
            default.initial_connection_window,
            windows,
            &at.field("initial_connection_window_size"),
        ),
        allow_connect: *allow_connect,
        keepalive: connection_keepalive
            .as_ref()
            .and_then(|message| keepalive(message, &at.field("connection_keepalive"))),
    }
}

fn keepalive(message: &KeepaliveSettings, at: &At<'_>) -> Option<Http2Keepalive> {
    fields!(at, message, KeepaliveSettings {
        honoured { interval, timeout }
        unsupported { connection_idle_interval }
        ignored { interval_jitter: "the interval is kept without it" }
    });
    let at_timeout = &at.field("timeout");
    if timeout.is_none() {
        at_timeout.problem("is required");
    }
    let timeout = positive(timeout.as_ref(), at_timeout);
    let interval = duration(interval.as_ref(), &at.field("interval"));
    Some(Http2Keepalive {
        interval: interval.filter(|interval| !interval.is_zero())?,
        timeout: timeout?,
    })
}
