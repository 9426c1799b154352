//! Rules in words.

use meltemi_ir::{
    ClientAddress, HeaderMatch, HeaderMatchKind, MatchedHeader, MetadataMatch, RbacMetadata,
    RbacRule, SanMatch, StringMatch, ValueMatch,
};

/// What the paths of a token's claims begin with in metadata.
const CLAIMS: &str = "envoy.filters.http.jwt_authn.payload.";

/// A rule in words.
pub fn describe(rule: &RbacRule) -> String {
    let list = |rules: &[RbacRule], between: &str| {
        let all: Vec<_> = rules.iter().map(describe).collect();
        format!("({})", all.join(between))
    };
    match rule {
        RbacRule::Any => "anything goes".to_owned(),
        RbacRule::All(rules) => list(rules, " and "),
        RbacRule::OneOf(rules) => list(rules, " or "),
        RbacRule::Not(rule) => format!("not {}", describe(rule)),
        RbacRule::Header(matcher) => header(matcher),
        RbacRule::Path(wanted) => format!("the path {}", text(wanted)),
        RbacRule::UriTemplate(template) => format!("the path is like {}", template.text),
        RbacRule::DestinationIp(range) => {
            format!("the destination is in {}/{}", range.address, range.length)
        }
        RbacRule::DestinationPort { start, end } if start + 1 == *end => {
            format!("the port is {start}")
        }
        RbacRule::DestinationPort { start, end } => {
            format!("the port is from {start} to {}", end.saturating_sub(1))
        }
        RbacRule::Metadata { source, matcher } => metadata(*source, matcher),
        RbacRule::ServerName(name) => format!("the server name {}", text(name)),
        RbacRule::Authenticated(None) => "the client speaks TLS".to_owned(),
        RbacRule::Authenticated(Some(name)) => format!("the client's name {}", text(name)),
        RbacRule::VerifiedCertificate(None) => "the client's certificate is verified".to_owned(),
        RbacRule::VerifiedCertificate(Some(
            SanMatch::Uri(name)
            | SanMatch::Dns(name)
            | SanMatch::Email(name)
            | SanMatch::Ip(name)
            | SanMatch::Any(name),
        )) => format!(
            "the client's certificate is verified and its name {}",
            text(name)
        ),
        RbacRule::Client { address, range } => {
            let whose = match address {
                ClientAddress::Connection => "the connection's source",
                ClientAddress::Direct => "the peer's address",
                ClientAddress::Trusted => "the client's address",
            };
            format!("{whose} is in {}/{}", range.address, range.length)
        }
        RbacRule::FilterState { key, value } => format!("filter state {key} {}", text(value)),
    }
}

fn header(matcher: &HeaderMatch) -> String {
    let name = match &matcher.name {
        MatchedHeader::Name(name) => name.as_str(),
        MatchedHeader::Authority => ":authority",
        MatchedHeader::Method => ":method",
        MatchedHeader::Path => ":path",
        MatchedHeader::Scheme => ":scheme",
    };
    let asked = match &matcher.kind {
        HeaderMatchKind::Present(wanted) => {
            let there = if *wanted == matcher.invert {
                "missing"
            } else {
                "there"
            };
            return format!("header {name} is {there}");
        }
        HeaderMatchKind::Value(wanted) => text(wanted),
        HeaderMatchKind::Range { start, end } => {
            format!("is a number from {start} to {}", end.saturating_sub(1))
        }
    };
    turned(matcher.invert, format!("header {name} {asked}"))
}

fn metadata(source: RbacMetadata, matcher: &MetadataMatch) -> String {
    let path = matcher.path.join(".");
    let whose = match (source, path.strip_prefix(CLAIMS)) {
        (RbacMetadata::Dynamic, Some(claim)) => format!("the token's claim {claim}"),
        (RbacMetadata::Dynamic, None) => format!("metadata {path}"),
        (RbacMetadata::Route, _) => format!("the route's metadata {path}"),
    };
    turned(matcher.invert, format!("{whose} {}", value(&matcher.value)))
}

fn turned(invert: bool, what: String) -> String {
    match invert {
        true => format!("it is not so that {what}"),
        false => what,
    }
}

/// What is asked of a text, as a verb and its object.
fn text(wanted: &StringMatch) -> String {
    let (verb, text, ignore_case) = match wanted {
        StringMatch::Exact { text, ignore_case } => ("is", text.as_str(), *ignore_case),
        StringMatch::Prefix { text, ignore_case } => ("begins with", text.as_str(), *ignore_case),
        StringMatch::Suffix { text, ignore_case } => ("ends with", text.as_str(), *ignore_case),
        StringMatch::Contains { text, ignore_case } => ("contains", text.as_str(), *ignore_case),
        StringMatch::Regex(regex) => ("is like", regex.as_str(), false),
    };
    let case = if ignore_case { " in any case" } else { "" };
    format!("{verb} {text:?}{case}")
}

/// What is asked of a value, as a verb and its object.
fn value(wanted: &ValueMatch) -> String {
    match wanted {
        ValueMatch::Null => "is null".to_owned(),
        ValueMatch::Range { start, end } => format!("is at least {start} and less than {end}"),
        ValueMatch::Number(number) => format!("is {number}"),
        ValueMatch::Text(wanted) => text(wanted),
        ValueMatch::Bool(truth) => format!("is {truth}"),
        ValueMatch::Present(true) => "is there".to_owned(),
        ValueMatch::Present(false) => "is what nothing is".to_owned(),
        ValueMatch::OneOf(one) => format!("has one that {}", value(one)),
        ValueMatch::Any(any) => {
            let any: Vec<_> = any.iter().map(value).collect();
            any.join(" or ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_told_apart_from_other_metadata() {
        let one = ValueMatch::Text(StringMatch::exact("admin"));
        let matcher = |path: [&str; 3]| MetadataMatch {
            path: path.map(str::to_owned).to_vec(),
            value: ValueMatch::Any(vec![ValueMatch::OneOf(Box::new(one.clone())), one.clone()]),
            invert: false,
        };
        assert_eq!(
            metadata(
                RbacMetadata::Dynamic,
                &matcher(["envoy.filters.http.jwt_authn", "payload", "group"])
            ),
            r#"the token's claim group has one that is "admin" or is "admin""#
        );
        assert_eq!(
            metadata(RbacMetadata::Dynamic, &matcher(["a", "b", "c"])),
            r#"metadata a.b.c has one that is "admin" or is "admin""#
        );
    }

    #[test]
    fn patterns_are_said_as_they_match() {
        let prefix = StringMatch::Prefix {
            text: "/a".to_owned(),
            ignore_case: true,
        };
        let rule = RbacRule::Not(Box::new(RbacRule::Path(prefix)));
        assert_eq!(
            describe(&rule),
            r#"not the path begins with "/a" in any case"#
        );
    }
}
