//! What a connection manager does by extensions or by formats: finding the client's address, early
//! changes to headers, the wording of its own answers.

use http::{HeaderValue, StatusCode};
use meltemi_ir::{
    HeaderEdit, LocalReplyConfig, LocalReplyMapper, LogFormat, OriginalIp, ReplyFormat,
    SchemeOverride,
};
use meltemi_xds::pb::envoy::config::core::v3::scheme_header_transformation::Transformation;
use meltemi_xds::pb::envoy::config::core::v3::{
    SchemeHeaderTransformation, SubstitutionFormatString, TypedExtensionConfig,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm_v3;
use meltemi_xds::pb::envoy::extensions::http::early_header_mutation::header_mutation::v3::HeaderMutation;
use meltemi_xds::pb::envoy::extensions::http::original_ip_detection::custom_header::v3::CustomHeaderConfig;
use meltemi_xds::pb::envoy::extensions::http::original_ip_detection::xff::v3::{
    XffConfig, XffTrustedCidrs,
};
use prost_types::Any;

use crate::access_log::filter::log_filter;
use crate::access_log::log_format;
use crate::address::prefix;
use crate::data_source;
use crate::extension::{Known, unpack};
use crate::fields::fields;
use crate::header::{Changes, Side, edits, header_name, header_value};
use crate::http_options::typed_extension;
use crate::path::At;
use crate::scalar::{error_status, status};

/// Converts a way of finding the client's address.
pub(crate) type Detection = fn(Option<&Any>, &At<'_>) -> Option<OriginalIp>;

/// The ways of finding the client's address.
pub(crate) static ORIGINAL_IP: &[Known<Detection>] = &[
    Known {
        name: "envoy.http.original_ip_detection.xff",
        type_name: "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig",
        convert: |config, at| xff(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.http.original_ip_detection.custom_header",
        type_name: "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig",
        convert: |config, at| custom_header(&unpack(config, at)?, at),
    },
];

/// Converts early changes to headers.
pub(crate) type Early = fn(Option<&Any>, &At<'_>) -> Option<Vec<HeaderEdit>>;

/// The kinds of early changes to headers.
pub(crate) static EARLY_MUTATIONS: &[Known<Early>] = &[Known {
    name: "envoy.http.early_header_mutation.header_mutation",
    type_name: "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
    convert: |config, at| early(&unpack(config, at)?, at),
}];

/// How the client's address is found.
pub(crate) fn original_ip(messages: &[TypedExtensionConfig], at: &At<'_>) -> Vec<OriginalIp> {
    at.field("original_ip_detection_extensions")
        .each(messages, |message, at| {
            let (known, config) = typed_extension(message, ORIGINAL_IP, at)?;
            (known.convert)(config, &at.field("typed_config"))
        })
}

fn xff(message: &XffConfig, at: &At<'_>) -> Option<OriginalIp> {
    fields!(at, message, XffConfig {
        honoured { xff_num_trusted_hops, xff_trusted_cidrs, skip_xff_append }
    });
    let trusted = match xff_trusted_cidrs {
        Some(message) => {
            let at = &at.field("xff_trusted_cidrs");
            fields!(at, message, XffTrustedCidrs { honoured { cidrs } });
            at.field("cidrs").each(cidrs, prefix)
        }
        None => Vec::new(),
    };
    if !trusted.is_empty() && *xff_num_trusted_hops > 0 {
        at.field("xff_trusted_cidrs")
            .problem("cannot be set together with xff_num_trusted_hops");
    }
    Some(OriginalIp::ForwardedFor {
        trusted_hops: *xff_num_trusted_hops,
        trusted,
        skip_append: skip_xff_append.unwrap_or(true),
    })
}

fn custom_header(message: &CustomHeaderConfig, at: &At<'_>) -> Option<OriginalIp> {
    fields!(at, message, CustomHeaderConfig {
        honoured { header_name, allow_extension_to_set_address_as_trusted, reject_with_status }
    });
    let reject = reject_with_status.as_ref().map(|message| {
        error_status(
            message,
            StatusCode::FORBIDDEN,
            &at.field("reject_with_status"),
        )
    });
    Some(OriginalIp::Header {
        name: self::header_name(header_name, &at.field("header_name"))?,
        trusted: *allow_extension_to_set_address_as_trusted,
        reject,
    })
}

/// Changes to a request's headers before anything looks at them.
pub(crate) fn early_mutations(messages: &[TypedExtensionConfig], at: &At<'_>) -> Vec<HeaderEdit> {
    let lists = at
        .field("early_header_mutation_extensions")
        .each(messages, |message, at| {
            let (known, config) = typed_extension(message, EARLY_MUTATIONS, at)?;
            (known.convert)(config, &at.field("typed_config"))
        });
    lists.into_iter().flatten().collect()
}

fn early(message: &HeaderMutation, at: &At<'_>) -> Option<Vec<HeaderEdit>> {
    fields!(at, message, HeaderMutation { honoured { mutations } });
    Some(edits(mutations, Side::Request, &at.field("mutations")))
}

/// The scheme that requests get.
pub(crate) fn scheme(message: &SchemeHeaderTransformation, at: &At<'_>) -> SchemeOverride {
    fields!(at, message, SchemeHeaderTransformation {
        oneof { transformation { scheme_to_overwrite: Honoured "" } }
        unsupported { match_upstream }
    });
    match transformation {
        Some(Transformation::SchemeToOverwrite(scheme)) if scheme == "http" => SchemeOverride::Http,
        Some(Transformation::SchemeToOverwrite(scheme)) if scheme == "https" => {
            SchemeOverride::Https
        }
        Some(Transformation::SchemeToOverwrite(_)) => {
            at.field("scheme_to_overwrite")
                .problem("must be http or https");
            SchemeOverride::None
        }
        None => SchemeOverride::None,
    }
}

/// How the proxy's own answers are reworded; none where nothing is said of it.
pub(crate) fn local_reply(
    message: &hcm_v3::LocalReplyConfig,
    at: &At<'_>,
) -> Option<LocalReplyConfig> {
    fields!(at, message, hcm_v3::LocalReplyConfig { honoured { mappers, body_format } });
    let config = LocalReplyConfig {
        mappers: at.field("mappers").each(mappers, mapper),
        format: body_format
            .as_ref()
            .and_then(|message| reply_format(message, &at.field("body_format"))),
    };
    (!config.mappers.is_empty() || config.format.is_some()).then_some(config)
}

fn mapper(message: &hcm_v3::ResponseMapper, at: &At<'_>) -> Option<LocalReplyMapper> {
    fields!(at, message, hcm_v3::ResponseMapper {
        honoured { filter, status_code, body, body_format_override, headers_to_add }
    });
    let at_filter = &at.field("filter");
    let Some(filter) = filter else {
        at_filter.problem("is required");
        return None;
    };
    let (of, add, remove) = (Side::Response, headers_to_add, &[]);
    Some(LocalReplyMapper {
        filter: log_filter(filter, at_filter)?,
        status: match status_code {
            Some(code) => Some(status(*code, 200, &at.field("status_code"))?),
            None => None,
        },
        body: match body {
            Some(body) => Some(data_source::text(body, &at.field("body"))?),
            None => None,
        },
        format: body_format_override
            .as_ref()
            .and_then(|message| reply_format(message, &at.field("body_format_override"))),
        headers: Changes { of, add, remove }.additions(&at.field("headers_to_add")),
    })
}

fn reply_format(message: &SubstitutionFormatString, at: &At<'_>) -> Option<ReplyFormat> {
    let format = log_format(message, at)?;
    let content_type = match (message.content_type.as_str(), &format) {
        ("", LogFormat::Json(_) | LogFormat::SparseJson(_)) => {
            HeaderValue::from_static("application/json")
        }
        ("", _) => HeaderValue::from_static("text/plain"),
        (text, _) => header_value(text, &at.field("content_type"))?,
    };
    Some(ReplyFormat {
        format,
        content_type,
    })
}
