//! Compression and decompression of bodies.

use meltemi_ir::{
    Coding, Compressor, CompressorDirection, CompressorOverrides, Decompressor,
    DecompressorDirection, StringMatch,
};
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::extensions::compression::brotli::compressor::v3 as brotli_c;
use meltemi_xds::pb::envoy::extensions::compression::brotli::decompressor::v3 as brotli_d;
use meltemi_xds::pb::envoy::extensions::compression::gzip::compressor::v3 as gzip_c;
use meltemi_xds::pb::envoy::extensions::compression::gzip::decompressor::v3 as gzip_d;
use meltemi_xds::pb::envoy::extensions::compression::zstd::compressor::v3 as zstd_c;
use meltemi_xds::pb::envoy::extensions::compression::zstd::decompressor::v3 as zstd_d;
use meltemi_xds::pb::envoy::extensions::filters::http::compressor::v3 as compressor_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::compressor::v3::compressor as direction_c;
use meltemi_xds::pb::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use meltemi_xds::pb::envoy::extensions::filters::http::decompressor::v3 as decompressor_v3;
use meltemi_xds::pb::envoy::extensions::filters::http::decompressor::v3::decompressor as direction_d;
use prost_types::Any;

use crate::extension::{Known, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::matcher::string_match;
use crate::network_filter;
use crate::path::At;
use crate::scalar::within;

/// Converts the configuration of a library.
pub(crate) type Library = fn(Option<&Any>, &At<'_>) -> Option<(Coding, u32)>;

/// The libraries that compress.
pub(crate) static COMPRESSORS: &[Known<Library>] = &[
    Known {
        name: "envoy.compression.gzip.compressor",
        type_name: "envoy.extensions.compression.gzip.compressor.v3.Gzip",
        convert: |config, at| gzip(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.compression.brotli.compressor",
        type_name: "envoy.extensions.compression.brotli.compressor.v3.Brotli",
        convert: |config, at| brotli(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.compression.zstd.compressor",
        type_name: "envoy.extensions.compression.zstd.compressor.v3.Zstd",
        convert: |config, at| zstd(&unpack(config, at)?, at),
    },
];

/// The libraries that decompress.
pub(crate) static DECOMPRESSORS: &[Known<Library>] = &[
    Known {
        name: "envoy.compression.gzip.decompressor",
        type_name: "envoy.extensions.compression.gzip.decompressor.v3.Gzip",
        convert: |config, at| gunzip(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.compression.brotli.decompressor",
        type_name: "envoy.extensions.compression.brotli.decompressor.v3.Brotli",
        convert: |config, at| unbrotli(&unpack(config, at)?, at),
    },
    Known {
        name: "envoy.compression.zstd.decompressor",
        type_name: "envoy.extensions.compression.zstd.decompressor.v3.Zstd",
        convert: |config, at| unzstd(&unpack(config, at)?, at),
    },
];

/// A body grows by no more than this, unless set otherwise.
const RATIO: u32 = 100;

fn gzip(message: &gzip_c::Gzip, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, gzip_c::Gzip {
        honoured { compression_level }
        ignored {
            memory_level: "it only changes how well is compressed",
            compression_strategy: "it only changes how well is compressed",
            window_bits: "it only changes how well is compressed",
            chunk_size: "it only changes how much is done at a time",
        }
    });
    let level = u32::try_from(*compression_level).ok();
    let level = level.filter(|level| (1..=9).contains(level));
    Some((Coding::Gzip(level.unwrap_or(6)), RATIO))
}

fn brotli(message: &brotli_c::Brotli, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, brotli_c::Brotli {
        honoured { quality, window_bits }
        ignored {
            encoder_mode: "it only changes how well is compressed",
            input_block_bits: "it only changes how well is compressed",
            chunk_size: "it only changes how much is done at a time",
            disable_literal_context_modeling: "it only changes how well is compressed",
        }
    });
    let quality = within(*quality, 3, 0..=11, &at.field("quality"));
    let window = within(*window_bits, 18, 10..=24, &at.field("window_bits"));
    Some((Coding::Brotli { quality, window }, RATIO))
}

fn zstd(message: &zstd_c::Zstd, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, zstd_c::Zstd {
        honoured { compression_level }
        refused { dictionary: "dictionaries" }
        ignored {
            enable_checksum: "readers need none",
            strategy: "it only changes how well is compressed",
            chunk_size: "it only changes how much is done at a time",
        }
    });
    let level = within(
        *compression_level,
        3,
        0..=22,
        &at.field("compression_level"),
    );
    Some((Coding::Zstd(level.max(1).cast_signed()), RATIO))
}

fn gunzip(message: &gzip_d::Gzip, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, gzip_d::Gzip {
        honoured { max_inflate_ratio }
        ignored {
            window_bits: "any window is read",
            chunk_size: "it only changes how much is done at a time",
        }
    });
    let at = &at.field("max_inflate_ratio");
    let ratio = within(*max_inflate_ratio, RATIO, 1..=1032, at);
    Some((Coding::Gzip(6), ratio))
}

fn unbrotli(message: &brotli_d::Brotli, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, brotli_d::Brotli {
        ignored {
            disable_ring_buffer_reallocation: "it only changes how memory is used",
            chunk_size: "it only changes how much is done at a time",
        }
    });
    let (quality, window) = (3, 18);
    Some((Coding::Brotli { quality, window }, RATIO))
}

fn unzstd(message: &zstd_d::Zstd, at: &At<'_>) -> Option<(Coding, u32)> {
    fields!(at, message, zstd_d::Zstd {
        refused { dictionaries: "dictionaries" }
        ignored { chunk_size: "it only changes how much is done at a time" }
    });
    Some((Coding::Zstd(3), RATIO))
}

/// A library's name and what it does.
fn library(
    message: Option<&TypedExtensionConfig>,
    known: &'static [Known<Library>],
    at: &At<'_>,
) -> Option<(String, Coding, u32)> {
    let Some(message) = message else {
        at.problem("is required");
        return None;
    };
    let (known, config) = typed_extension(message, known, at)?;
    let (coding, ratio) = (known.convert)(config, &at.field("typed_config"))?;
    Some((message.name.clone(), coding, ratio))
}

/// The content types that are compressed unless set otherwise.
const TYPES: [&str; 8] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];

fn types(listed: &[String]) -> Vec<StringMatch> {
    let exact = |text: &str| StringMatch::Exact {
        text: text.to_owned(),
        ignore_case: true,
    };
    if listed.is_empty() {
        return TYPES.iter().copied().map(exact).collect();
    }
    listed.iter().map(|text| exact(text)).collect()
}

fn compressor_direction(
    message: Option<&direction_c::CommonDirectionConfig>,
    at: &At<'_>,
) -> CompressorDirection {
    let default = direction_c::CommonDirectionConfig::default();
    let message = message.unwrap_or(&default);
    fields!(at, message, direction_c::CommonDirectionConfig {
        honoured { enabled, min_content_length, content_type, content_type_matcher }
    });
    let content_types = if content_type_matcher.is_empty() {
        types(content_type)
    } else {
        at.field("content_type_matcher")
            .each(content_type_matcher, string_match)
    };
    CompressorDirection {
        enabled: network_filter::enabled(enabled.as_ref(), &at.field("enabled")),
        min_length: u64::from(min_content_length.unwrap_or(30)),
        content_types,
    }
}

/// The compressor's settings.
pub(crate) fn compressor(message: &compressor_v3::Compressor, at: &At<'_>) -> Option<Compressor> {
    fields!(at, message, compressor_v3::Compressor {
        honoured {
            compressor_library, request_direction_config, response_direction_config, choose_first,
            content_length, content_type, disable_on_etag_header, remove_accept_encoding_header,
            runtime_enabled,
        }
    });
    let at_library = &at.field("compressor_library");
    let (library, coding, _) = library(compressor_library.as_ref(), COMPRESSORS, at_library)?;
    let request = request_direction_config.as_ref().map(|message| {
        let at = &at.field("request_direction_config");
        fields!(at, message, direction_c::RequestDirectionConfig { honoured { common_config } });
        let at_common = &at.field("common_config");
        let mut direction = compressor_direction(common_config.as_ref(), at_common);
        // requests are compressed only where that is asked for
        direction.enabled &= common_config
            .as_ref()
            .is_some_and(|config| config.enabled.is_some());
        direction
    });
    let mut compressor = Compressor {
        library,
        coding,
        request: request.filter(|direction| direction.enabled),
        response: CompressorDirection {
            enabled: network_filter::enabled(
                runtime_enabled.as_ref(),
                &at.field("runtime_enabled"),
            ),
            min_length: u64::from(content_length.unwrap_or(30)),
            content_types: types(content_type),
        },
        response_configured: response_direction_config.is_some(),
        disable_on_etag: *disable_on_etag_header,
        weaken_etag: false,
        remove_accept_encoding: *remove_accept_encoding_header,
        uncompressible_codes: Vec::new(),
        status_header: false,
        choose_first: *choose_first,
    };
    if let Some(message) = response_direction_config {
        let at = &at.field("response_direction_config");
        fields!(at, message, direction_c::ResponseDirectionConfig {
            honoured {
                common_config, disable_on_etag_header, weaken_etag_on_compress,
                remove_accept_encoding_header, uncompressible_response_codes,
                status_header_enabled,
            }
        });
        let at_common = &at.field("common_config");
        compressor.response = compressor_direction(common_config.as_ref(), at_common);
        compressor.disable_on_etag = *disable_on_etag_header;
        compressor.weaken_etag = *weaken_etag_on_compress;
        compressor.remove_accept_encoding = *remove_accept_encoding_header;
        compressor.uncompressible_codes = uncompressible_response_codes
            .iter()
            .filter_map(|code| u16::try_from(*code).ok())
            .collect();
        compressor.status_header = *status_header_enabled;
    }
    Some(compressor)
}

/// What a route says of the compressor; none turns it off.
pub(crate) fn compressor_per_route(
    message: &compressor_v3::CompressorPerRoute,
    at: &At<'_>,
) -> Option<Option<CompressorOverrides>> {
    fields!(at, message, compressor_v3::CompressorPerRoute {
        oneof { r#override { disabled: Honoured "", overrides: Honoured "" } }
    });
    match r#override {
        Some(Override::Disabled(_)) => Some(None),
        Some(Override::Overrides(message)) => {
            let at = &at.field("overrides");
            fields!(at, message, compressor_v3::CompressorOverrides {
                honoured { response_direction_config, compressor_library }
            });
            let remove = response_direction_config.as_ref().and_then(|message| {
                let at = &at.field("response_direction_config");
                fields!(at, message, compressor_v3::ResponseDirectionOverrides {
                    honoured { remove_accept_encoding_header }
                });
                *remove_accept_encoding_header
            });
            let at_library = &at.field("compressor_library");
            let coding = compressor_library
                .as_ref()
                .and_then(|message| library(Some(message), COMPRESSORS, at_library))
                .map(|(_, coding, _)| coding);
            Some(Some(CompressorOverrides {
                remove_accept_encoding: remove,
                coding,
            }))
        }
        None => {
            at.problem("needs disabled or overrides");
            None
        }
    }
}

/// The decompressor's settings.
pub(crate) fn decompressor(
    message: &decompressor_v3::Decompressor,
    at: &At<'_>,
) -> Option<Decompressor> {
    fields!(at, message, decompressor_v3::Decompressor {
        honoured { decompressor_library, request_direction_config, response_direction_config }
    });
    let at_library = &at.field("decompressor_library");
    let (library, coding, max_ratio) =
        library(decompressor_library.as_ref(), DECOMPRESSORS, at_library)?;
    let default = direction_d::RequestDirectionConfig::default();
    let message = request_direction_config.as_ref().unwrap_or(&default);
    let at_request = &at.field("request_direction_config");
    fields!(at_request, message, direction_d::RequestDirectionConfig {
        honoured { common_config, advertise_accept_encoding }
    });
    let request = decompressor_direction(common_config.as_ref(), at_request);
    let default = direction_d::ResponseDirectionConfig::default();
    let message = response_direction_config.as_ref().unwrap_or(&default);
    let at_response = &at.field("response_direction_config");
    fields!(at_response, message, direction_d::ResponseDirectionConfig {
        honoured { common_config }
    });
    Some(Decompressor {
        library,
        coding,
        request,
        response: decompressor_direction(common_config.as_ref(), at_response),
        advertise: advertise_accept_encoding.unwrap_or(true),
        max_ratio,
    })
}

fn decompressor_direction(
    message: Option<&direction_d::CommonDirectionConfig>,
    at: &At<'_>,
) -> DecompressorDirection {
    let default = direction_d::CommonDirectionConfig::default();
    let message = message.unwrap_or(&default);
    let at = &at.field("common_config");
    fields!(at, message, direction_d::CommonDirectionConfig {
        honoured { enabled, ignore_no_transform_header }
    });
    DecompressorDirection {
        enabled: network_filter::enabled(enabled.as_ref(), &at.field("enabled")),
        ignore_no_transform: *ignore_no_transform_header,
    }
}
