//! String, regular-expression, header and query matchers.

use meltemi_ir::{
    HeaderMatch, HeaderMatchKind, MatchedHeader, MetadataMatch, QueryMatch, QueryMatchKind,
    RegexMatch, StringMatch, ValueMatch,
};
use meltemi_xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use meltemi_xds::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};
use meltemi_xds::pb::envoy::r#type::matcher::v3::double_matcher::MatchPattern as DoublePattern;
use meltemi_xds::pb::envoy::r#type::matcher::v3::list_matcher::MatchPattern as ListPattern;
use meltemi_xds::pb::envoy::r#type::matcher::v3::metadata_matcher::PathSegment;
use meltemi_xds::pb::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use meltemi_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meltemi_xds::pb::envoy::r#type::matcher::v3::value_matcher::{
    MatchPattern as ValuePattern, NullMatch,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{
    DoubleMatcher, ListMatcher, MetadataMatcher, OrMatcher, RegexMatchAndSubstitute, RegexMatcher,
    StringMatcher, ValueMatcher,
};
use meltemi_xds::pb::envoy::r#type::v3::{DoubleRange, Int32Range, Int64Range};
use regex::Regex;

use crate::fields::fields;
use crate::header::header_name;
use crate::path::At;
use crate::scalar::non_empty;

/// A string matcher.
pub(crate) fn string_match(message: &StringMatcher, at: &At<'_>) -> Option<StringMatch> {
    fields!(at, message, StringMatcher {
        honoured { ignore_case }
        oneof { match_pattern {
            exact: Honoured "",
            prefix: Honoured "",
            suffix: Honoured "",
            contains: Honoured "",
            safe_regex: Honoured "",
            custom: Refused "no custom matcher is known",
        } }
    });
    let ignore_case = *ignore_case;
    let text = |text: &str, field: &str| non_empty(text, &at.field(field)).to_owned();
    Some(match match_pattern {
        Some(MatchPattern::Exact(exact)) => StringMatch::Exact {
            text: exact.clone(),
            ignore_case,
        },
        Some(MatchPattern::Prefix(prefix)) => StringMatch::Prefix {
            text: text(prefix, "prefix"),
            ignore_case,
        },
        Some(MatchPattern::Suffix(suffix)) => StringMatch::Suffix {
            text: text(suffix, "suffix"),
            ignore_case,
        },
        Some(MatchPattern::Contains(contains)) => StringMatch::Contains {
            text: text(contains, "contains"),
            ignore_case,
        },
        Some(MatchPattern::SafeRegex(regex)) => {
            StringMatch::Regex(full_match(regex, &at.field("safe_regex"))?)
        }
        Some(MatchPattern::Custom(_)) => {
            at.field("custom").refuse("no custom matcher is known");
            return None;
        }
        None => {
            at.problem("needs a match_pattern");
            return None;
        }
    })
}

/// The text of a regular expression.
fn pattern<'a>(message: &'a RegexMatcher, at: &At<'_>) -> &'a str {
    fields!(at, message, RegexMatcher {
        honoured { regex }
        oneof { engine_type {
            google_re2: Ignored "every expression runs in linear time",
        } }
    });
    // ignored: the only engine there is; its max_program_size has been without effect for years.
    let _ = engine_type;
    non_empty(regex, &at.field("regex"))
}

fn compile(text: &str, written: &str, at: &At<'_>) -> Option<Regex> {
    match Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            at.field("regex").problem(format_args!(
                "{written:?} is not a valid regular expression: {}",
                reason.trim_start_matches("error: ")
            ));
            None
        }
    }
}

/// An expression that must match the whole text.
pub(crate) fn full_match(message: &RegexMatcher, at: &At<'_>) -> Option<Regex> {
    let written = pattern(message, at);
    // Compiled alone first, so that `a)(b` is not made valid by what is put round it.
    compile(written, written, at)?;
    compile(&format!("^(?:{written})$"), written, at)
}

/// An expression and what its matches become.
pub(crate) fn substitution(
    message: &RegexMatchAndSubstitute,
    at: &At<'_>,
) -> Option<(RegexMatch, String)> {
    fields!(at, message, RegexMatchAndSubstitute { honoured { pattern, substitution } });
    let Some(matcher) = pattern else {
        at.field("pattern").problem("is required");
        return None;
    };
    let at_pattern = &at.field("pattern");
    let written = self::pattern(matcher, at_pattern);
    let regex = compile(written, written, at_pattern)?;
    check_rewrite(
        substitution,
        regex.captures_len(),
        &at.field("substitution"),
    );
    Some((RegexMatch(regex), substitution.clone()))
}

/// A `\` must be followed by a digit that names a group, or by another `\`.
fn check_rewrite(text: &str, groups: usize, at: &At<'_>) {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        match characters.next().map(|next| (next, next.to_digit(10))) {
            Some(('\\', _)) => {}
            Some((_, Some(group))) if (group as usize) < groups => {}
            Some((_, Some(group))) => at.problem(format_args!(
                "\\{group} names a group that the expression does not have"
            )),
            _ => at.problem("a backslash must be followed by a digit or a backslash"),
        }
    }
}

/// A header matcher.
pub(crate) fn header_match(message: &HeaderMatcher, at: &At<'_>) -> Option<HeaderMatch> {
    fields!(at, message, HeaderMatcher {
        honoured { invert_match, treat_missing_header_as_empty }
        partly { name: "any header, `:authority`, `:method`, `:path` and `:scheme`" }
        oneof { header_match_specifier {
            exact_match: Honoured "",
            safe_regex_match: Honoured "",
            range_match: Honoured "",
            present_match: Honoured "",
            prefix_match: Honoured "",
            suffix_match: Honoured "",
            contains_match: Honoured "",
            string_match: Honoured "",
        } }
    });
    let name = matched_header(name, &at.field("name"));
    let text = |text: &str, field: &str| non_empty(text, &at.field(field)).to_owned();
    let ignore_case = false;
    let kind = match header_match_specifier {
        None => Some(HeaderMatchKind::Present(true)),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            Some(HeaderMatchKind::Present(*present))
        }
        Some(HeaderMatchSpecifier::ExactMatch(exact)) => {
            Some(HeaderMatchKind::Value(StringMatch::exact(exact.as_str())))
        }
        Some(HeaderMatchSpecifier::PrefixMatch(prefix)) => {
            Some(HeaderMatchKind::Value(StringMatch::Prefix {
                text: text(prefix, "prefix_match"),
                ignore_case,
            }))
        }
        Some(HeaderMatchSpecifier::SuffixMatch(suffix)) => {
            Some(HeaderMatchKind::Value(StringMatch::Suffix {
                text: text(suffix, "suffix_match"),
                ignore_case,
            }))
        }
        Some(HeaderMatchSpecifier::ContainsMatch(contains)) => {
            Some(HeaderMatchKind::Value(StringMatch::Contains {
                text: text(contains, "contains_match"),
                ignore_case,
            }))
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            full_match(regex, &at.field("safe_regex_match"))
                .map(|regex| HeaderMatchKind::Value(StringMatch::Regex(regex)))
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            string_match(matcher, &at.field("string_match")).map(HeaderMatchKind::Value)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => {
            Some(int64_range(range, &at.field("range_match")))
        }
    };
    Some(HeaderMatch {
        name: name?,
        kind: kind?,
        invert: *invert_match,
        treat_missing_as_empty: *treat_missing_header_as_empty,
    })
}

fn int64_range(message: &Int64Range, at: &At<'_>) -> HeaderMatchKind {
    let (start, end) = bounds(message, at);
    HeaderMatchKind::Range { start, end }
}

/// The first number of a range, and the first after it.
pub(crate) fn bounds(message: &Int64Range, at: &At<'_>) -> (i64, i64) {
    fields!(at, message, Int64Range { honoured { start, end } });
    (*start, *end)
}

/// The same of a range of smaller numbers.
pub(crate) fn bounds32(message: &Int32Range, at: &At<'_>) -> (i32, i32) {
    fields!(at, message, Int32Range { honoured { start, end } });
    (*start, *end)
}

/// The header, or the part of the request line, of a name.
pub(crate) fn matched_header(name: &str, at: &At<'_>) -> Option<MatchedHeader> {
    Some(match name.to_ascii_lowercase().as_str() {
        ":authority" | "host" => MatchedHeader::Authority,
        ":method" => MatchedHeader::Method,
        ":path" => MatchedHeader::Path,
        ":scheme" => MatchedHeader::Scheme,
        other if other.starts_with(':') => {
            at.problem(format_args!("matching {name:?} is not supported"));
            return None;
        }
        _ => MatchedHeader::Name(header_name(name, at)?),
    })
}

/// A query parameter matcher.
pub(crate) fn query_match(message: &QueryParameterMatcher, at: &At<'_>) -> Option<QueryMatch> {
    fields!(at, message, QueryParameterMatcher {
        honoured { name }
        oneof { query_parameter_match_specifier {
            string_match: Honoured "",
            present_match: Honoured "",
        } }
    });
    non_empty(name, &at.field("name"));
    let kind = match query_parameter_match_specifier {
        None => QueryMatchKind::Present(true),
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => {
            QueryMatchKind::Present(*present)
        }
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            QueryMatchKind::Value(string_match(matcher, &at.field("string_match"))?)
        }
    };
    Some(QueryMatch {
        name: name.clone(),
        kind,
    })
}

/// A metadata matcher.
pub(crate) fn metadata_match(message: &MetadataMatcher, at: &At<'_>) -> Option<MetadataMatch> {
    fields!(at, message, MetadataMatcher { honoured { filter, path, value, invert } });
    let mut whole = vec![non_empty(filter, &at.field("filter")).to_owned()];
    whole.extend(at.field("path").each(path, |message, at| {
        fields!(at, message, PathSegment { oneof { segment { key: Honoured "" } } });
        segment.as_ref().map(|Segment::Key(key)| key.clone())
    }));
    let at_value = &at.field("value");
    let Some(value) = value else {
        at_value.problem("is required");
        return None;
    };
    Some(MetadataMatch {
        path: whole,
        value: value_match(value, at_value)?,
        invert: *invert,
    })
}

fn value_match(message: &ValueMatcher, at: &At<'_>) -> Option<ValueMatch> {
    fields!(at, message, ValueMatcher {
        oneof { match_pattern {
            null_match: Honoured "",
            double_match: Honoured "",
            string_match: Honoured "",
            bool_match: Honoured "",
            present_match: Honoured "",
            list_match: Honoured "",
            or_match: Honoured "",
        } }
    });
    Some(match match_pattern {
        Some(ValuePattern::NullMatch(message)) => {
            fields!(at, message, NullMatch {});
            ValueMatch::Null
        }
        Some(ValuePattern::DoubleMatch(message)) => {
            let at = &at.field("double_match");
            fields!(at, message, DoubleMatcher {
                oneof { match_pattern { range: Honoured "", exact: Honoured "" } }
            });
            match match_pattern {
                Some(DoublePattern::Exact(number)) => ValueMatch::Number(*number),
                Some(DoublePattern::Range(message)) => {
                    fields!(at, message, DoubleRange { honoured { start, end } });
                    ValueMatch::Range {
                        start: *start,
                        end: *end,
                    }
                }
                None => {
                    at.problem("needs a range or exact");
                    return None;
                }
            }
        }
        Some(ValuePattern::StringMatch(matcher)) => {
            ValueMatch::Text(string_match(matcher, &at.field("string_match"))?)
        }
        Some(ValuePattern::BoolMatch(truth)) => ValueMatch::Bool(*truth),
        Some(ValuePattern::PresentMatch(present)) => ValueMatch::Present(*present),
        Some(ValuePattern::ListMatch(message)) => {
            let at = &at.field("list_match");
            fields!(at, &**message, ListMatcher { oneof { match_pattern { one_of: Honoured "" } } });
            match match_pattern {
                Some(ListPattern::OneOf(one)) => {
                    ValueMatch::OneOf(Box::new(value_match(one, &at.field("one_of"))?))
                }
                None => {
                    at.problem("needs one_of");
                    return None;
                }
            }
        }
        Some(ValuePattern::OrMatch(message)) => {
            let at = &at.field("or_match");
            fields!(at, message, OrMatcher { honoured { value_matchers } });
            ValueMatch::Any(at.field("value_matchers").each(value_matchers, value_match))
        }
        None => {
            at.problem("needs a match_pattern");
            return None;
        }
    })
}
