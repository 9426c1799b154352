//! Which requests a log holds: expressions in CEL (FEATURES O3).
//!
//! In: an expression. Out: Envoy's filter for CEL. A proxy that lists its extensions, and this one not
//! among them, gets plain filters in its place where the expression is made of comparisons that they
//! can express; otherwise it gets CEL all the same and says itself that it cannot have it.

use meltemi_xds::pb::envoy::config::accesslog::v3::{
    AccessLogFilter, AndFilter, ComparisonFilter, ExtensionFilter, HeaderFilter, OrFilter,
    StatusCodeFilter, access_log_filter::FilterSpecifier, comparison_filter::Op,
    extension_filter::ConfigType,
};
use meltemi_xds::pb::envoy::config::core::v3::RuntimeUInt32;
use meltemi_xds::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use meltemi_xds::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use crate::ProxyNode;
use crate::proto::{matching, pack};

/// The filter of an expression.
pub(super) fn filter(node: &ProxyNode, expression: &str) -> AccessLogFilter {
    let plain = node.lacks.cel_filter.then(|| plain(expression)).flatten();
    plain.unwrap_or_else(|| {
        let message = ExpressionFilter {
            expression: expression.to_owned(),
            ..Default::default()
        };
        made(FilterSpecifier::ExtensionFilter(ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&message))),
        }))
    })
}

fn made(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter {
        filter_specifier: Some(specifier),
    }
}

/// The same without CEL: comparisons joined by `||` and `&&`, of which the latter binds closer.
fn plain(expression: &str) -> Option<AccessLogFilter> {
    let any: Option<Vec<_>> = expression.split("||").map(conjunction).collect();
    Some(match any?.as_mut_slice() {
        [one] => std::mem::take(one),
        several => made(FilterSpecifier::OrFilter(OrFilter {
            filters: several.to_vec(),
        })),
    })
}

fn conjunction(expression: &str) -> Option<AccessLogFilter> {
    let all: Option<Vec<_>> = expression.split("&&").map(comparison).collect();
    Some(match all?.as_mut_slice() {
        [one] => std::mem::take(one),
        several => made(FilterSpecifier::AndFilter(AndFilter {
            filters: several.to_vec(),
        })),
    })
}

fn comparison(expression: &str) -> Option<AccessLogFilter> {
    let expression = expression.trim();
    if let Some(rest) = expression.strip_prefix("response.code") {
        return status(rest.trim());
    }
    header(expression.strip_prefix("request.headers[")?)
}

fn status(rest: &str) -> Option<AccessLogFilter> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let (op, value) = if let Some(text) = rest.strip_prefix(">=") {
        (Op::Ge, number(text)?)
    } else if let Some(text) = rest.strip_prefix("<=") {
        (Op::Le, number(text)?)
    } else if let Some(text) = rest.strip_prefix("==") {
        (Op::Eq, number(text)?)
    } else if let Some(text) = rest.strip_prefix('>') {
        (Op::Ge, number(text)?.checked_add(1)?)
    } else {
        (Op::Le, number(rest.strip_prefix('<')?)?.checked_sub(1)?)
    };
    Some(made(FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
        comparison: Some(ComparisonFilter {
            op: op.into(),
            value: Some(RuntimeUInt32 {
                default_value: value,
                runtime_key: "istio.io/unset".to_owned(),
            }),
        }),
    })))
}

/// `'name'] == 'value'`.
fn header(rest: &str) -> Option<AccessLogFilter> {
    let (name, rest) = quoted(rest)?;
    let rest = rest.strip_prefix(']')?.trim_start().strip_prefix("==")?;
    let (value, rest) = quoted(rest.trim_start())?;
    if !rest.is_empty() {
        return None;
    }
    let matcher = matching(MatchPattern::Exact(value.to_owned()));
    Some(made(FilterSpecifier::HeaderFilter(HeaderFilter {
        header: Some(HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(matcher)),
            ..Default::default()
        }),
    })))
}

/// A text in quotes without escapes, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|it| matches!(it, '\'' | '"'))?;
    let (inner, rest) = text[1..].split_once(quote)?;
    (!inner.contains('\\')).then_some((inner, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plain_filters_can_express() {
        for expression in [
            "response.code >= 400",
            "response.code > 399 || response.code == 101",
            "response.code<300 && request.headers['x-debug'] == \"yes\"",
        ] {
            assert!(plain(expression).is_some(), "{expression}");
        }
        for expression in [
            "response.code != 200",
            "(response.code >= 400)",
            "has(request.headers['x'])",
            "request.headers['a||b'] == 'c'",
            "response.code_details == 'x'",
            "!(response.code == 200)",
            "connection.mtls",
        ] {
            assert!(plain(expression).is_none(), "{expression}");
        }
    }
}
