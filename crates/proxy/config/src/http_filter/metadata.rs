//! Filters that write metadata and filter state.

use meltemi_ir::{
    FilterStateValue, HeaderSource, HeaderToMetadata, LogFormat, MatchedHeader, MetadataKind, MetadataRule,
    MetadataWrite, SetFilterState, SetMetadata,
};
use meltemi_xds::pb::envoy::extensions::filters::common::set_filter_state::v3 as state_v3;
use meltemi_xds::pb::envoy::extensions::filters::common::set_filter_state::v3::filter_state_value::{
    Key, Value,
};
use meltemi_xds::pb::envoy::extensions::filters::http::header_to_metadata::v3 as header_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::header_to_metadata::v3::config::{
    KeyValuePair, Rule, ValueEncode, ValueType,
};
use meltemi_xds::pb::envoy::extensions::filters::http::set_filter_state::v3 as set_state_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::set_metadata::v3 as set_v3;

use crate::access_log::log_format;
use crate::fields::fields;
use crate::matcher::{matched_header, substitution};
use crate::metadata::fields_of;
use crate::path::At;
use crate::scalar::{enumeration, non_empty};

/// Where metadata goes that names no namespace.
const NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

/// What of headers becomes metadata.
pub(crate) fn header_to_metadata(
    message: &header_v3::Config,
    at: &At<'_>,
) -> Option<HeaderToMetadata> {
    fields!(at, message, header_v3::Config {
        honoured { request_rules, response_rules }
        ignored { stat_prefix: "the filter keeps no statistics" }
    });
    Some(HeaderToMetadata {
        request: at.field("request_rules").each(request_rules, rule),
        response: at.field("response_rules").each(response_rules, rule),
    })
}

fn rule(message: &Rule, at: &At<'_>) -> Option<MetadataRule> {
    fields!(at, message, Rule {
        honoured { header, cookie, on_header_present, on_header_missing, remove }
    });
    let source = match (header.as_str(), cookie.as_str()) {
        ("", "") => {
            at.problem("needs a header or a cookie");
            return None;
        }
        (name, "") => {
            let header = matched_header(name, &at.field("header"))?;
            if *remove && !matches!(header, MatchedHeader::Name(_)) {
                at.field("remove").refuse("a request cannot do without it");
            }
            HeaderSource::Header(header)
        }
        ("", name) => HeaderSource::Cookie(name.to_owned()),
        _ => {
            at.problem("cannot have both a header and a cookie");
            return None;
        }
    };
    if on_header_present.is_none() && on_header_missing.is_none() {
        at.problem("needs on_header_present or on_header_missing");
    }
    let written = |message: &Option<KeyValuePair>, field, missing| {
        let at = &at.field(field);
        message
            .as_ref()
            .and_then(|message| write(message, missing, at))
    };
    Some(MetadataRule {
        source,
        on_present: written(on_header_present, "on_header_present", false),
        on_missing: written(on_header_missing, "on_header_missing", true),
        remove: *remove,
    })
}

fn write(message: &KeyValuePair, missing: bool, at: &At<'_>) -> Option<MetadataWrite> {
    fields!(at, message, KeyValuePair {
        honoured { metadata_namespace, key, value, regex_value_rewrite, r#type, encode }
    });
    if missing && value.is_empty() {
        at.field("value").problem("must not be empty");
    }
    let rewrite = regex_value_rewrite
        .as_ref()
        .map(|message| substitution(message, &at.field("regex_value_rewrite")));
    Some(MetadataWrite {
        namespace: if metadata_namespace.is_empty() {
            NAMESPACE.to_owned()
        } else {
            metadata_namespace.clone()
        },
        key: non_empty(key, &at.field("key")).to_owned(),
        value: value.clone(),
        rewrite: rewrite.flatten(),
        kind: match enumeration(*r#type, &at.field("type"))? {
            ValueType::String => MetadataKind::Text,
            ValueType::Number => MetadataKind::Number,
            ValueType::ProtobufValue => MetadataKind::Protobuf,
        },
        base64: match enumeration(*encode, &at.field("encode"))? {
            ValueEncode::None => false,
            ValueEncode::Base64 => true,
        },
    })
}

/// What becomes filter state.
pub(crate) fn set_filter_state(
    message: &set_state_v3::Config,
    at: &At<'_>,
) -> Option<SetFilterState> {
    fields!(at, message, set_state_v3::Config {
        honoured { on_request_headers, clear_route_cache }
    });
    Some(SetFilterState {
        values: at
            .field("on_request_headers")
            .each(on_request_headers, state_value),
        clear_route_cache: *clear_route_cache,
    })
}

fn state_value(message: &state_v3::FilterStateValue, at: &At<'_>) -> Option<FilterStateValue> {
    fields!(at, message, state_v3::FilterStateValue {
        honoured { skip_if_empty }
        partly { factory_key: "envoy.string and envoy.hashable_string" }
        oneof {
            key { object_key: Honoured "" },
            value { format_string: Honoured "" },
        }
        ignored {
            read_only: "nothing else writes it",
            shared_with_upstream: "no upstream filter reads it",
        }
    });
    let Some(Key::ObjectKey(object_key)) = key else {
        at.field("object_key").problem("is required");
        return None;
    };
    let factory = if factory_key.is_empty() {
        object_key
    } else {
        factory_key
    };
    if !matches!(factory.as_str(), "envoy.string" | "envoy.hashable_string") {
        at.field("factory_key").refuse(factory);
    }
    let format = match value {
        Some(Value::FormatString(message)) => log_format(message, &at.field("format_string"))?,
        None => {
            at.field("format_string").problem("is required");
            LogFormat::Default
        }
    };
    Some(FilterStateValue {
        key: object_key.clone(),
        format,
        skip_if_empty: *skip_if_empty,
    })
}

/// What metadata is set.
pub(crate) fn set_metadata(message: &set_v3::Config, at: &At<'_>) -> Option<Vec<SetMetadata>> {
    fields!(at, message, set_v3::Config { honoured { metadata_namespace, value, metadata } });
    let mut all = Vec::new();
    if let Some(value) = value {
        all.push(SetMetadata {
            namespace: metadata_namespace.clone(),
            value: fields_of(value),
            allow_overwrite: false,
            merge: true,
        });
    }
    all.extend(at.field("metadata").each(metadata, |message, at| {
        fields!(at, message, set_v3::Metadata {
            honoured { metadata_namespace, allow_overwrite, value }
            unsupported { typed_value }
        });
        let namespace = non_empty(metadata_namespace, &at.field("metadata_namespace"));
        Some(SetMetadata {
            namespace: namespace.to_owned(),
            value: value.as_ref().map(fields_of).unwrap_or_default(),
            allow_overwrite: *allow_overwrite,
            merge: false,
        })
    }));
    Some(all)
}
