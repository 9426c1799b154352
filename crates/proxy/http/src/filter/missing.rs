//! A filter whose configuration is discovered and has not come: nothing passes what cannot be looked
//! at, as in Envoy.

use http::StatusCode;
use meltemi_telemetry::ResponseFlags;

use super::{Decision, HttpFilter, RequestContext};
use crate::router::reply::LocalReply;

/// The filter.
pub(crate) struct MissingFilter;

impl HttpFilter for MissingFilter {
    fn on_request(&self, _request: &mut RequestContext<'_>) -> Decision {
        Decision::Reply(LocalReply::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            "",
            ResponseFlags::NO_FILTER_CONFIG_FOUND,
        ))
    }
}
