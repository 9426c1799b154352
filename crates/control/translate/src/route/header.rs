//! Header operations (FEATURES T5, T6).
//!
//! In: `headers` of a route or a destination. Out: Envoy's lists, and the new authority where an
//! operation sets one.

use meltemi_model::{HeaderName, HeaderOperations, MessageHeaderOperations};
use meltemi_xds::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// Operations as Envoy takes them.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// What the request's authority becomes.
    pub authority: Option<String>,
}

impl Operations {
    /// The operations of a route or a destination.
    pub fn of(headers: &HeaderOperations) -> Self {
        let HeaderOperations { request, response } = headers;
        Self {
            request_add: additions(request),
            request_remove: removals(request),
            response_add: additions(response),
            response_remove: removals(response),
            authority: authority(&request.set).or_else(|| authority(&request.add)),
        }
    }

    /// Adds those of a destination to those of its route.
    pub fn append(&mut self, more: Self) {
        let Self {
            request_add,
            request_remove,
            response_add,
            response_remove,
            authority,
        } = more;
        self.request_add.extend(request_add);
        self.request_remove.extend(request_remove);
        self.response_add.extend(response_add);
        self.response_remove.extend(response_remove);
        self.authority = self.authority.take().or(authority);
    }
}

/// What is overwritten, by name, then what is appended, by name.
fn additions(message: &MessageHeaderOperations) -> Vec<HeaderValueOption> {
    let MessageHeaderOperations {
        set,
        add,
        remove: _, // ignored: in `removals`
    } = message;
    let options = |headers: &[(HeaderName, String)], action: HeaderAppendAction| {
        let mut options: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !is_internal(name))
            .map(|(name, value)| HeaderValueOption {
                header: Some(HeaderValue {
                    key: name.as_str().to_owned(),
                    value: value.clone(),
                    ..Default::default()
                }),
                append_action: action.into(),
                ..Default::default()
            })
            .collect();
        options.sort_by(|left, right| key(left).cmp(key(right)));
        options
    };
    let mut additions = options(set, HeaderAppendAction::OverwriteIfExistsOrAdd);
    additions.extend(options(add, HeaderAppendAction::AppendIfExistsOrAdd));
    additions
}

fn removals(message: &MessageHeaderOperations) -> Vec<String> {
    message
        .remove
        .iter()
        .filter(|name| !is_internal(name))
        .map(|name| name.as_str().to_owned())
        .collect()
}

fn authority(headers: &[(HeaderName, String)]) -> Option<String> {
    headers
        .iter()
        .find(|(name, _)| matches!(name.as_str(), ":authority" | "host"))
        .map(|(_, value)| value.clone())
}

/// Pseudo headers and `host` are not to be had by header operations.
fn is_internal(name: &HeaderName) -> bool {
    name.as_str().starts_with(':') || name.as_str() == "host"
}

fn key(option: &HeaderValueOption) -> &str {
    option.header.as_ref().map_or("", |header| &header.key)
}
