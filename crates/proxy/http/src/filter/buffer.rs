//! `envoy.filters.http.buffer`: a request goes on when it has come whole.

use http::header;

use super::{Decision, HttpFilter, RequestContext, RouteConfig};
use crate::headers::number;

/// The filter: most bytes.
pub(crate) struct BufferFilter(u32);

impl BufferFilter {
    pub(crate) fn new(most: u32) -> Self {
        Self(most)
    }
}

impl HttpFilter for BufferFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        if request.body.is_end() || request.head.upgrade.is_some() || request.head.path.is_none() {
            return Decision::Continue;
        }
        let most = match request.place.config() {
            Some(RouteConfig::Buffer(most)) => *most,
            _ => self.0,
        };
        Decision::Buffer(most as usize)
    }

    fn on_whole_body(&self, request: &mut RequestContext<'_>) -> Decision {
        let length = request.body.gathered() as u64;
        if length > 0 {
            let headers = &mut request.head.headers;
            headers
                .entry(header::CONTENT_LENGTH)
                .or_insert_with(|| number(length));
        }
        Decision::Continue
    }
}
