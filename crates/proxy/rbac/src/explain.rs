//! Why a decision is what it is, in words: for people who ask what a request would meet.

use meltemi_ir::{
    ClientAddress, HeaderMatch, HeaderMatchKind, MatchedHeader, MetadataMatch, Rbac, RbacAction,
    RbacMetadata, RbacRule, SanMatch,
};

use crate::matcher::Matcher;
use crate::{Decision, Engine, Facts};

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// It is let in.
    pub allowed: bool,
    /// The policy that decides, if one does.
    pub policy: Option<String>,
    /// The whole in a sentence.
    pub because: String,
    /// What each policy says, in the order in which they are asked, up to the one that decides.
    pub policies: Vec<PolicyExplanation>,
}

/// Why a policy matches, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyExplanation {
    /// Its name.
    pub name: String,
    /// It matches.
    pub matches: bool,
    /// What of it matched, or what did not.
    pub because: String,
}

impl Explanation {
    /// Asks the policies, and says why they answer as they do.
    pub fn new(config: &Rbac, facts: &Facts<'_>) -> Self {
        let engine = Engine::new(config);
        let Decision {
            allowed, policy, ..
        } = engine.decide(facts);
        let mut policies = Vec::new();
        for (name, one) in &config.policies {
            let done = one_of(&one.permissions, facts);
            let by = one_of(&one.principals, facts);
            let (matches, because) = match (done, by) {
                (Ok(done), Ok(by)) => (true, format!("{done}, and {by}")),
                (Err(reason), _) | (Ok(_), Err(reason)) => (false, reason),
            };
            policies.push(PolicyExplanation {
                name: name.clone(),
                matches,
                because,
            });
            if matches {
                break;
            }
        }
        let because = match (config.action, policy) {
            (RbacAction::Allow, Some(name)) => format!("policy {name} lets it in"),
            (RbacAction::Allow, None) => "no policy lets it in".to_owned(),
            (RbacAction::Deny, Some(name)) => format!("policy {name} refuses it"),
            (RbacAction::Deny, None) => "no policy refuses it".to_owned(),
            (RbacAction::Log, Some(name)) => format!("policy {name} marks it for the log"),
            (RbacAction::Log, None) => "no policy marks it for the log".to_owned(),
        };
        Self {
            allowed,
            policy: policy.map(str::to_owned),
            because,
            policies,
        }
    }
}

/// Which of the alternatives holds, or why none does.
fn one_of(rules: &[RbacRule], facts: &Facts<'_>) -> Result<String, String> {
    let mut wanted = Vec::new();
    for rule in rules {
        match reason(rule, facts) {
            Ok(found) => return Ok(found),
            Err(missed) => wanted.push(missed),
        }
    }
    match wanted.len() {
        0 => Err("nothing is asked for, which nothing meets".to_owned()),
        1..=3 => Err(wanted.join("; ")),
        more => {
            wanted.truncate(3);
            Err(format!("{}; and {} more", wanted.join("; "), more - 3))
        }
    }
}

/// What of the rule holds, or what does not.
fn reason(rule: &RbacRule, facts: &Facts<'_>) -> Result<String, String> {
    match rule {
        RbacRule::All(rules) => {
            let mut held = Vec::new();
            for rule in rules {
                let found = reason(rule, facts)?;
                if !matches!(rule, RbacRule::Any) || rules.len() == 1 {
                    held.push(found);
                }
            }
            Ok(held.join(", "))
        }
        RbacRule::OneOf(rules) => one_of(rules, facts),
        RbacRule::Not(rule) => match reason(rule, facts) {
            Ok(found) => Err(format!("it must not be that {found}")),
            Err(missed) => Ok(missed),
        },
        rule if Matcher::new(rule).matches(facts) => Ok(describe(rule)),
        rule => Err(format!("it is not so that {}", describe(rule))),
    }
}

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
        RbacRule::Path(text) => format!("the path is {text:?}"),
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
        RbacRule::ServerName(text) => format!("the server name is {text:?}"),
        RbacRule::Authenticated(None) => "the client speaks TLS".to_owned(),
        RbacRule::Authenticated(Some(text)) => format!("the client is {text:?}"),
        RbacRule::VerifiedCertificate(None) => "the client's certificate is verified".to_owned(),
        RbacRule::VerifiedCertificate(Some(
            SanMatch::Uri(text)
            | SanMatch::Dns(text)
            | SanMatch::Email(text)
            | SanMatch::Ip(text)
            | SanMatch::Any(text),
        )) => format!("the client's certificate is verified and names {text:?}"),
        RbacRule::Client { address, range } => {
            let whose = match address {
                ClientAddress::Connection => "the connection's source",
                ClientAddress::Direct => "the peer's address",
                ClientAddress::Trusted => "the client's address",
            };
            format!("{whose} is in {}/{}", range.address, range.length)
        }
        RbacRule::FilterState { key, value } => format!("filter state {key} is {value:?}"),
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
    let is = if matcher.invert { "is not" } else { "is" };
    match &matcher.kind {
        HeaderMatchKind::Present(wanted) => {
            let there = if *wanted == matcher.invert {
                "missing"
            } else {
                "there"
            };
            format!("header {name} is {there}")
        }
        HeaderMatchKind::Value(text) => format!("header {name} {is} {text:?}"),
        HeaderMatchKind::Range { start, end } => {
            format!(
                "header {name} {is} a number from {start} to {}",
                end.saturating_sub(1)
            )
        }
    }
}

fn metadata(source: RbacMetadata, matcher: &MetadataMatch) -> String {
    let whose = match source {
        RbacMetadata::Dynamic => "metadata",
        RbacMetadata::Route => "the route's metadata",
    };
    let is = if matcher.invert { "is not" } else { "is" };
    format!(
        "{whose} {} {is} {:?}",
        matcher.path.join("."),
        matcher.value
    )
}
