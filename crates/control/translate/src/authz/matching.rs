//! Values of policies as Envoy's matchers.

use meltemi_model::{AddressRange, Glob};
use meltemi_xds::pb::envoy::config::core::v3::CidrRange;
use meltemi_xds::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, StringMatcher, ValueMatcher, list_matcher,
    metadata_matcher::{PathSegment, path_segment::Segment},
    string_matcher::MatchPattern,
    value_matcher,
};

use crate::proto::{matching, regex};

/// A text with `prefix` before it; `*` alone is any text that is not empty.
pub(super) fn text(glob: &Glob, prefix: &str) -> StringMatcher {
    match glob {
        Glob::Present => expression(".+"),
        Glob::Suffix(end) if prefix.is_empty() => matching(MatchPattern::Suffix(end.clone())),
        Glob::Suffix(end) => expression(&format!("{prefix}.*{}", quoted(end))),
        Glob::Prefix(beginning) => matching(MatchPattern::Prefix(format!("{prefix}{beginning}"))),
        Glob::Exact(text) => matching(MatchPattern::Exact(format!("{prefix}{text}"))),
    }
}

/// A regular expression for the whole text.
pub(super) fn expression(pattern: &str) -> StringMatcher {
    matching(MatchPattern::SafeRegex(regex(pattern)))
}

/// A text as an expression that matches just it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// A header; with `*`, one that is there.
pub(super) fn header(
    name: &str,
    glob: &Glob,
    adjust: impl Fn(StringMatcher) -> StringMatcher,
) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match glob {
            Glob::Present => HeaderMatchSpecifier::PresentMatch(true),
            Glob::Suffix(_) | Glob::Prefix(_) | Glob::Exact(_) => {
                HeaderMatchSpecifier::StringMatch(adjust(text(glob, "")))
            }
        }),
        ..Default::default()
    }
}

/// An address range.
pub(super) fn cidr(range: AddressRange) -> CidrRange {
    CidrRange {
        address_prefix: range.ip.to_string(),
        prefix_len: Some(u32::from(range.bits)),
    }
}

/// A value that is a text.
pub(super) fn value(text: StringMatcher) -> ValueMatcher {
    ValueMatcher {
        match_pattern: Some(value_matcher::MatchPattern::StringMatch(text)),
    }
}

/// A list that has such a value.
pub(super) fn listed(value: ValueMatcher) -> ValueMatcher {
    ValueMatcher {
        match_pattern: Some(value_matcher::MatchPattern::ListMatch(Box::new(
            ListMatcher {
                match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(value))),
            },
        ))),
    }
}

/// One of some values; a single one is left as it is.
pub(super) fn one_of(mut values: Vec<ValueMatcher>) -> ValueMatcher {
    if values.len() == 1 {
        return values.remove(0);
    }
    ValueMatcher {
        match_pattern: Some(value_matcher::MatchPattern::OrMatch(OrMatcher {
            value_matchers: values,
        })),
    }
}

/// What a filter said under these keys.
pub(super) fn metadata(filter: &str, path: &[String], value: ValueMatcher) -> MetadataMatcher {
    MetadataMatcher {
        filter: filter.to_owned(),
        path: path
            .iter()
            .map(|key| PathSegment {
                segment: Some(Segment::Key(key.clone())),
            })
            .collect(),
        value: Some(value),
        ..Default::default()
    }
}
