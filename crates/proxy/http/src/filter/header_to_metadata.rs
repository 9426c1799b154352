//! `envoy.filters.http.header_to_metadata`: what headers and cookies say becomes metadata, which
//! routes, rate limiters and logs read.

use std::sync::Arc;

use base64::Engine as _;
use http::HeaderMap;
use meltemi_ir as ir;

use super::{Decision, HttpFilter, Place, RequestContext, ResponseContext, RouteConfig};
use crate::head::RequestHead;
use crate::headers::cookie;
use crate::route::Substitution;

/// The filter with its settings.
pub(crate) struct HeaderToMetadataFilter(Arc<ir::HeaderToMetadata>);

impl HeaderToMetadataFilter {
    pub(crate) fn new(config: Arc<ir::HeaderToMetadata>) -> Self {
        Self(config)
    }

    fn config<'a>(&'a self, place: &Place<'a>) -> &'a ir::HeaderToMetadata {
        match place.config() {
            Some(RouteConfig::HeaderToMetadata(config)) => config,
            _ => &self.0,
        }
    }
}

impl HttpFilter for HeaderToMetadataFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let rules = &self.config(&request.place).request;
        let metadata = read(rules, &mut Read::Request(request.head));
        if !metadata.is_empty() {
            let mut facts = request.stream.facts.borrow_mut();
            merge(&mut facts.notes.shared_mut().metadata, metadata);
        }
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let rules = &self.config(&response.place).response;
        let metadata = read(rules, &mut Read::Response(response.headers));
        if !metadata.is_empty() {
            let mut facts = response.stream.facts.borrow_mut();
            merge(&mut facts.notes.shared_mut().metadata, metadata);
        }
    }
}

type Written = Vec<(String, String, ir::Value)>;

fn merge(metadata: &mut ir::Metadata, written: Written) {
    for (namespace, key, value) in written {
        metadata.0.entry(namespace).or_default().insert(key, value);
    }
}

/// What is read.
enum Read<'a> {
    Request(&'a mut RequestHead),
    Response(&'a mut HeaderMap),
}

impl Read<'_> {
    fn headers(&mut self) -> &mut HeaderMap {
        match self {
            Self::Request(head) => &mut head.headers,
            Self::Response(headers) => headers,
        }
    }

    /// The text of a header, or of what stands in the request line.
    fn text(&mut self, header: &ir::MatchedHeader) -> Option<String> {
        let text = match (&mut *self, header) {
            (_, ir::MatchedHeader::Name(name)) => {
                let values: Vec<_> = self
                    .headers()
                    .get_all(name)
                    .iter()
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                    .collect();
                return (!values.is_empty()).then(|| values.join(","));
            }
            (Self::Response(_), _) => return None,
            (Self::Request(head), ir::MatchedHeader::Authority) => head.authority(),
            (Self::Request(head), ir::MatchedHeader::Method) => head.method.as_str(),
            (Self::Request(head), ir::MatchedHeader::Path) => head.path(),
            (Self::Request(head), ir::MatchedHeader::Scheme) => head.scheme(),
        };
        Some(text.to_owned())
    }
}

fn read(rules: &[ir::MetadataRule], from: &mut Read<'_>) -> Written {
    let mut written = Vec::new();
    for rule in rules {
        let found = match &rule.source {
            ir::HeaderSource::Header(header) => from.text(header),
            ir::HeaderSource::Cookie(name) => {
                cookie::value(from.headers(), name).map(str::to_owned)
            }
        };
        let write = match (&found, &rule.on_present, &rule.on_missing) {
            (Some(_), Some(write), _) | (None, _, Some(write)) => write,
            _ => continue,
        };
        let text = match (&found, write.value.is_empty(), &write.rewrite) {
            (Some(found), _, Some((regex, substitution))) => {
                Substitution::new(regex, substitution).apply(found)
            }
            (Some(found), true, None) => found.clone(),
            _ => write.value.clone(),
        };
        if let Some(value) = value(write, text) {
            written.push((write.namespace.clone(), write.key.clone(), value));
        }
        if let (ir::HeaderSource::Header(ir::MatchedHeader::Name(name)), true, Some(_)) =
            (&rule.source, rule.remove, &found)
        {
            from.headers().remove(name);
        }
    }
    written
}

/// The text as what it is to be; none where it cannot be that, or is empty or too long.
fn value(write: &ir::MetadataWrite, mut text: String) -> Option<ir::Value> {
    const MOST: usize = 8 << 10;
    if text.is_empty() || text.len() >= MOST {
        return None;
    }
    let mut bytes = text.clone().into_bytes();
    if write.base64 {
        bytes = base64::engine::general_purpose::STANDARD
            .decode(&bytes)
            .ok()?;
        if write.kind != ir::MetadataKind::Protobuf {
            text = String::from_utf8(bytes.clone()).ok()?;
        }
    }
    match write.kind {
        ir::MetadataKind::Text => Some(ir::Value::String(text)),
        ir::MetadataKind::Number => text.parse().ok().map(ir::Value::Number),
        ir::MetadataKind::Protobuf => meltemi_telemetry::decode_value(&bytes),
    }
}
