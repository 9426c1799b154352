//! `envoy.filters.http.compressor`: compresses bodies for whoever accepts it.

mod coder;

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{CompressorStats, Sharded};

use self::coder::Encoder;
use super::{
    Decision, FilterParts, HttpFilter, Place, RequestContext, ResponseContext, RouteConfig,
};
use crate::headers::parse_number;

pub(crate) use coder::Decoder;

/// The filter with its settings.
pub(crate) struct CompressorFilter {
    config: Arc<ir::Compressor>,
    response: Arc<Sharded<CompressorStats>>,
    request: Option<Arc<Sharded<CompressorStats>>>,
}

/// A filter that could compress the response.
pub(crate) struct Candidate {
    position: usize,
    name: &'static str,
    config: Arc<ir::Compressor>,
}

/// What a client accepts, and who could do it.
#[derive(Default)]
pub(crate) struct Offers {
    accepted: Option<String>,
    candidates: Vec<Candidate>,
}

impl CompressorFilter {
    pub(crate) fn new(config: Arc<ir::Compressor>, parts: &FilterParts<'_>) -> Self {
        let coding = match config.coding.name() {
            "br" => "brotli",
            other => other,
        };
        let stats = |direction: &str| {
            let name = format!("{}.{coding}{direction}", config.library);
            parts.stats.compressor(parts.stat_prefix, &name)
        };
        let direction = if config.response_configured {
            ".response"
        } else {
            ""
        };
        Self {
            response: stats(direction),
            request: config.request.is_some().then(|| stats(".request")),
            config,
        }
    }

    fn coding(&self, place: &Place<'_>) -> ir::Coding {
        match place.config() {
            Some(RouteConfig::Compressor(ir::CompressorOverrides {
                coding: Some(coding),
                ..
            })) => *coding,
            _ => self.config.coding,
        }
    }

    fn compress_request(&self, request: &mut RequestContext<'_>) {
        let (Some(direction), Some(stats)) = (&self.config.request, &self.request) else {
            return;
        };
        let stats = stats.shard(request.worker().worker);
        let headers = &mut request.head.headers;
        if request.body.is_end()
            || !is_worth(direction, headers)
            || headers.contains_key(header::CONTENT_ENCODING)
            || forbids(headers)
            || request.head.upgrade.is_some()
        {
            stats.not_compressed.inc();
            return;
        }
        let coding = self.config.coding;
        headers.remove(header::CONTENT_LENGTH);
        let name = HeaderValue::from_static(coding.name());
        headers.insert(header::CONTENT_ENCODING, name);
        stats.compressed.inc();
        let encoder = Encoder::new(coding, self.request.clone(), request.worker().worker);
        request.body.transform(Box::new(encoder));
    }
}

impl HttpFilter for CompressorFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let headers = &mut request.head.headers;
        let accepted = headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        if self.config.response.enabled {
            let mut facts = request.stream.facts.borrow_mut();
            let offers = &mut facts.notes.offers;
            if offers.accepted.is_none() {
                offers.accepted = accepted;
            }
            offers.candidates.push(Candidate {
                position: request.place.position,
                name: self.coding(&request.place).name(),
                config: self.config.clone(),
            });
        }
        let overrides = match request.place.config() {
            Some(RouteConfig::Compressor(overrides)) => overrides.remove_accept_encoding,
            _ => None,
        };
        if overrides.unwrap_or(self.config.remove_accept_encoding) {
            headers.remove(header::ACCEPT_ENCODING);
        }
        self.compress_request(request);
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let config = &*self.config;
        let worker = response.worker().worker;
        let stats = self.response.shard(worker);
        let headers = &mut *response.headers;
        let big = config.response.enabled && is_long(&config.response, headers);
        if config.response.enabled && !big {
            stats.content_length_too_small.inc();
        }
        let etag = config.disable_on_etag && headers.contains_key(header::ETAG);
        if etag {
            stats.not_compressed_etag.inc();
        }
        let compressible = big
            && !etag
            && *response.status != http::StatusCode::SWITCHING_PROTOCOLS
            && !config
                .uncompressible_codes
                .contains(&response.status.as_u16())
            && is_of_type(&config.response, headers)
            && !forbids(headers)
            && !headers.contains_key(header::CONTENT_ENCODING);
        let chosen = {
            let facts = response.stream.facts.borrow();
            facts
                .notes
                .offers
                .chosen(headers, stats)
                .is_some_and(|position| position == response.place.position)
        };
        let compresses = compressible && chosen && !response.is_empty;
        let length = headers.get(header::CONTENT_LENGTH).cloned();
        if compresses {
            sanitize_etag(headers, config.weaken_etag);
            headers.remove(header::CONTENT_LENGTH);
            let coding = self.coding(&response.place);
            let name = HeaderValue::from_static(coding.name());
            headers.insert(header::CONTENT_ENCODING, name);
            stats.compressed.inc();
            let encoder = Encoder::new(coding, Some(self.response.clone()), worker);
            response.transforms.push(Box::new(encoder));
        } else {
            stats.not_compressed.inc();
        }
        if compressible {
            vary(headers);
        }
        if config.status_header {
            say_status(headers, config, compresses.then_some(length), big, etag);
        }
    }
}

impl Offers {
    /// The position of the filter that is to compress a response.
    fn chosen(&self, headers: &HeaderMap, stats: &CompressorStats) -> Option<usize> {
        let Some(accepted) = &self.accepted else {
            stats.no_accept_header.inc();
            return None;
        };
        let mut listed: Vec<(&str, f32)> = Vec::new();
        for token in accepted.split(',') {
            let (name, parameters) = token.split_once(';').unwrap_or((token, ""));
            let quality = match parameters.trim().strip_prefix("q=") {
                Some(quality) => match quality.trim().parse() {
                    Ok(quality) => quality,
                    Err(_) => continue,
                },
                None => 1.0,
            };
            listed.push((name.trim(), quality));
        }
        let quality_of = |wanted: &str| {
            let of = |name: &str| listed.iter().find(|(known, _)| *known == name);
            of(wanted).map(|(_, quality)| *quality)
        };
        let wildcard = quality_of("*");
        let mut best: Option<(f32, bool, &Candidate)> = None;
        for candidate in &self.candidates {
            if !is_of_type(&candidate.config.response, headers) {
                continue;
            }
            let quality = quality_of(candidate.name).or(wildcard).unwrap_or(0.0);
            let first = candidate.config.choose_first;
            let better = match best {
                None => quality > 0.0,
                Some((known, known_first, _)) => {
                    quality > known || (quality == known && first && !known_first)
                }
            };
            if better {
                best = Some((quality, first, candidate));
            }
        }
        let identity = quality_of("identity").unwrap_or(0.0);
        match best {
            Some((quality, _, candidate)) if quality >= identity => {
                if quality_of(candidate.name).is_none() {
                    stats.header_wildcard.inc();
                } else {
                    stats.header_compressor_used.inc();
                }
                Some(candidate.position)
            }
            Some(_) => {
                stats.header_identity.inc();
                None
            }
            None => {
                if identity > 0.0 {
                    stats.header_identity.inc();
                } else {
                    stats.header_not_valid.inc();
                }
                None
            }
        }
    }
}

fn is_worth(direction: &ir::CompressorDirection, headers: &HeaderMap) -> bool {
    direction.enabled && is_long(direction, headers) && is_of_type(direction, headers)
}

/// Whether the body is long enough, or of unknown length.
fn is_long(direction: &ir::CompressorDirection, headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_LENGTH).is_none_or(|length| {
        parse_number(Some(length)).is_some_and(|length| length >= direction.min_length)
    })
}

fn is_of_type(direction: &ir::CompressorDirection, headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let kind = kind.as_bytes().split(|byte| *byte == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    let mut types = direction.content_types.iter();
    types.any(|matcher| matcher.matches_bytes(kind))
}

/// Whether `cache-control: no-transform` forbids it.
pub(crate) fn forbids(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    })
}

/// A strong `etag` says that the bytes are the same, which they no longer are.
fn sanitize_etag(headers: &mut HeaderMap, weaken: bool) {
    let Some(etag) = headers.get(header::ETAG).cloned() else {
        return;
    };
    let bytes = etag.as_bytes();
    if bytes.starts_with(b"W/") || bytes.starts_with(b"w/") {
        return;
    }
    let weak = [b"W/", bytes].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) if weaken => {
            headers.insert(header::ETAG, weak);
        }
        _ => {
            headers.remove(header::ETAG);
        }
    }
}

fn vary(headers: &mut HeaderMap) {
    const NAME: &str = "Accept-Encoding";
    let Some(vary) = headers.get(header::VARY) else {
        headers.insert(header::VARY, HeaderValue::from_static(NAME));
        return;
    };
    let listed = vary.as_bytes().split(|byte| *byte == b',');
    let mut listed = listed.map(<[u8]>::trim_ascii);
    if !listed.any(|name| name.eq_ignore_ascii_case(NAME.as_bytes()) || name == b"*") {
        let more = [vary.as_bytes(), b", ", NAME.as_bytes()].concat();
        if let Ok(more) = HeaderValue::from_bytes(&more) {
            headers.insert(header::VARY, more);
        }
    }
}

fn say_status(
    headers: &mut HeaderMap,
    config: &ir::Compressor,
    compressed: Option<Option<HeaderValue>>,
    long: bool,
    etag: bool,
) {
    const STATUS: HeaderName = HeaderName::from_static("x-envoy-compression-status");
    let what = if let Some(length) = compressed {
        match length.as_ref().and_then(|length| length.to_str().ok()) {
            Some(length) => format!("Compressed;OriginalLength={length}"),
            None => "Compressed".to_owned(),
        }
    } else if !is_of_type(&config.response, headers) {
        "ContentTypeNotAllowed".to_owned()
    } else if etag {
        "EtagNotAllowed".to_owned()
    } else if !long {
        "ContentLengthTooSmall".to_owned()
    } else {
        "NotCompressed".to_owned()
    };
    let text = format!("{};{what}", config.coding.name());
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(STATUS, value);
    }
}
