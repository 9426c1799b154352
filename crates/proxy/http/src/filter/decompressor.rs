//! `envoy.filters.http.decompressor`: decompresses bodies for whoever does not.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{DecompressorStats, Sharded};

use super::compressor::{Decoder, forbids};
use super::{Decision, FilterParts, HttpFilter, RequestContext, ResponseContext};
use crate::worker::WorkerContext;

/// The filter with its settings.
pub(crate) struct DecompressorFilter {
    config: Arc<ir::Decompressor>,
    request: Arc<Sharded<DecompressorStats>>,
    response: Arc<Sharded<DecompressorStats>>,
    /// The trailers that say how many bytes there were.
    names: (HeaderName, HeaderName),
}

impl DecompressorFilter {
    pub(crate) fn new(config: Arc<ir::Decompressor>, parts: &FilterParts<'_>) -> Self {
        let coding = match config.coding.name() {
            "br" => "brotli",
            other => other,
        };
        let stats = |direction: &str| {
            let name = format!("{}.{coding}.{direction}", config.library);
            parts.stats.decompressor(parts.stat_prefix, &name)
        };
        let name = |what: &str| {
            let name = format!("x-envoy-decompressor-{}-{what}", config.library);
            HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())
                .unwrap_or(HeaderName::from_static("x-envoy-decompressor"))
        };
        Self {
            request: stats("request"),
            response: stats("response"),
            names: (name("compressed-bytes"), name("uncompressed-bytes")),
            config,
        }
    }

    /// Takes the coding off the headers and gives what undoes it, where it is ours.
    fn begin(
        &self,
        direction: ir::DecompressorDirection,
        stats: &Arc<Sharded<DecompressorStats>>,
        headers: &mut HeaderMap,
        worker: &WorkerContext,
    ) -> Option<Decoder> {
        let counts = stats.shard(worker.worker);
        let wanted = direction.enabled
            && (direction.ignore_no_transform || !forbids(headers))
            && first_coding(headers)
                .is_some_and(|first| first.eq_ignore_ascii_case(self.config.coding.name()));
        let decoder = wanted
            .then(|| {
                let (config, names) = (&self.config, self.names.clone());
                Decoder::new(config, names, stats.clone(), worker.worker)
            })
            .flatten();
        let Some(decoder) = decoder else {
            counts.not_decompressed.inc();
            return None;
        };
        counts.decompressed.inc();
        headers.remove(header::CONTENT_LENGTH);
        remove_first_coding(headers);
        Some(decoder)
    }
}

impl HttpFilter for DecompressorFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        if self.config.response.enabled && self.config.advertise {
            advertise(&mut request.head.headers, self.config.coding.name());
        }
        if !request.body.is_end() {
            let worker = &request.stream.connection.worker;
            let headers = &mut request.head.headers;
            let decoder = self.begin(self.config.request, &self.request, headers, worker);
            if let Some(decoder) = decoder {
                request.body.transform(Box::new(decoder));
            }
        }
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        if response.is_empty {
            return;
        }
        let worker = &response.stream.connection.worker;
        let decoder = self.begin(
            self.config.response,
            &self.response,
            response.headers,
            worker,
        );
        if let Some(decoder) = decoder {
            response.transforms.push(Box::new(decoder));
        }
    }
}

/// The outermost coding.
fn first_coding(headers: &HeaderMap) -> Option<&str> {
    let codings = headers.get(header::CONTENT_ENCODING)?.to_str().ok()?;
    codings.split(',').next().map(str::trim)
}

fn remove_first_coding(headers: &mut HeaderMap) {
    let rest = headers
        .get(header::CONTENT_ENCODING)
        .and_then(|codings| codings.to_str().ok()?.split_once(','))
        .and_then(|(_, rest)| HeaderValue::from_str(rest.trim()).ok());
    match rest {
        Some(rest) => {
            headers.insert(header::CONTENT_ENCODING, rest);
        }
        None => {
            headers.remove(header::CONTENT_ENCODING);
        }
    }
}

/// Adds the coding to those that are accepted, before all others.
fn advertise(headers: &mut HeaderMap, coding: &'static str) {
    let known = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let others = known.split(',').map(str::trim).filter(|token| {
        let name = token.split(';').next().unwrap_or_default().trim();
        !name.is_empty() && !name.eq_ignore_ascii_case(coding)
    });
    let mut list: Vec<&str> = others.collect();
    list.push(coding);
    if let Ok(value) = HeaderValue::from_str(&list.join(",")) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}
