//! Permissions and principals, compiled: alternatives of exact texts are looked up together.

use std::collections::HashSet;
use std::hash::Hash;

use meltemi_ir::{HeaderMatch, HeaderMatchKind, MatchedHeader, RbacRule, SanMatch, StringMatch};

use crate::Facts;
use crate::namespace::{self, Asked};

/// A compiled question.
#[derive(Debug)]
pub(crate) enum Matcher {
    Always,
    All(Box<[Matcher]>),
    AnyOf(Box<[Matcher]>),
    Not(Box<Matcher>),
    /// The text is one of these.
    Text(Key, HashSet<Box<[u8]>>),
    /// Any other question.
    Leaf(RbacRule),
}

/// A text of a request that can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub subject: Subject,
    /// Case is ignored; values are in lower case.
    pub ignore_case: bool,
}

/// Where the text is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// The path without its query.
    Path,
    /// A name of the client's certificate.
    Principal,
    /// A namespace in such a name: what lies between `/ns/` and the next slash.
    Namespace,
    ServerName,
    Header(MatchedHeader),
    /// The destination's port, in network order.
    Port,
}

impl Key {
    /// Whether any of the key's texts in the request fits.
    pub fn any(&self, facts: &Facts<'_>, mut fits: impl FnMut(&[u8]) -> bool) -> bool {
        let mut fold = |text: &[u8]| {
            if self.ignore_case && text.iter().any(u8::is_ascii_uppercase) {
                fits(&text.to_ascii_lowercase())
            } else {
                fits(text)
            }
        };
        match &self.subject {
            Subject::Path => facts.bare_path().is_some_and(|path| fold(path.as_bytes())),
            Subject::Principal => facts.any_principal(fold),
            Subject::Namespace => facts.any_principal(|name| namespace::of(name).any(&mut fold)),
            Subject::ServerName => fold(facts.server_name.as_bytes()),
            Subject::Header(name) => facts.any_value(name, fold).unwrap_or(false),
            Subject::Port => fold(&facts.destination.port().to_be_bytes()),
        }
    }
}

/// The text that a rule asks for, where it asks for one exact text.
pub(crate) fn exact(rule: &RbacRule) -> Option<(Key, Box<[u8]>)> {
    let (subject, text) = match rule {
        RbacRule::Authenticated(Some(StringMatch::Regex(regex))) => {
            let Asked::ForAll(namespace) = namespace::asked(regex.as_str())? else {
                return None;
            };
            return Some(in_namespace(namespace));
        }
        RbacRule::Path(text) => (Subject::Path, text),
        RbacRule::Authenticated(Some(text)) => (Subject::Principal, text),
        RbacRule::ServerName(text) => (Subject::ServerName, text),
        RbacRule::Header(HeaderMatch {
            name,
            kind: HeaderMatchKind::Value(text),
            invert: false,
            treat_missing_as_empty: false,
        }) => (Subject::Header(name.clone()), text),
        RbacRule::DestinationPort { start, end } if start + 1 == *end => {
            let key = Key {
                subject: Subject::Port,
                ignore_case: false,
            };
            let port = u16::try_from(*start).ok()?;
            return Some((key, Box::new(port.to_be_bytes())));
        }
        _ => return None,
    };
    let StringMatch::Exact { text, ignore_case } = text else {
        return None;
    };
    let key = Key {
        subject,
        ignore_case: *ignore_case,
    };
    let text = if *ignore_case {
        text.to_ascii_lowercase()
    } else {
        text.clone()
    };
    Some((key, text.into_bytes().into()))
}

fn in_namespace(namespace: &str) -> (Key, Box<[u8]>) {
    let key = Key {
        subject: Subject::Namespace,
        ignore_case: false,
    };
    (key, namespace.as_bytes().into())
}

/// Compiles a rule that asks for no exact text. One by which some of a namespace are meant asks for
/// the namespace first, so that many such rules are found by it.
fn leaf_of(rule: &RbacRule) -> Matcher {
    let leaf = Matcher::Leaf(rule.clone());
    let RbacRule::Authenticated(Some(StringMatch::Regex(regex))) = rule else {
        return leaf;
    };
    match namespace::asked(regex.as_str()) {
        Some(Asked::ForSome(namespace)) => {
            let (key, text) = in_namespace(namespace);
            Matcher::All([Matcher::Text(key, HashSet::from([text])), leaf].into())
        }
        _ => leaf,
    }
}

impl Matcher {
    /// Compiles alternatives.
    pub fn any_of(rules: &[RbacRule]) -> Self {
        let mut texts: Vec<(Key, HashSet<Box<[u8]>>)> = Vec::new();
        let mut others = Vec::new();
        for rule in rules {
            match (exact(rule), rule) {
                (Some((key, text)), _) => match texts.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, values)) => _ = values.insert(text),
                    None => texts.push((key, HashSet::from([text]))),
                },
                (None, RbacRule::Any) => return Self::Always,
                (None, _) => others.push(Self::new(rule)),
            }
        }
        let texts = texts
            .into_iter()
            .map(|(key, values)| Self::Text(key, values));
        let mut all: Vec<_> = texts.chain(others).collect();
        match all.len() {
            1 => all.remove(0),
            _ => Self::AnyOf(all.into()),
        }
    }

    /// Compiles one rule.
    pub fn new(rule: &RbacRule) -> Self {
        match rule {
            RbacRule::Any => Self::Always,
            RbacRule::All(rules) => {
                let mut all: Vec<_> = rules
                    .iter()
                    .map(Self::new)
                    .filter(|matcher| !matches!(matcher, Self::Always))
                    .collect();
                match all.len() {
                    0 => Self::Always,
                    1 => all.remove(0),
                    _ => {
                        // what is cheap is asked first
                        all.sort_by_key(Self::cost);
                        Self::All(all.into())
                    }
                }
            }
            RbacRule::OneOf(rules) => Self::any_of(rules),
            RbacRule::Not(rule) => Self::Not(Box::new(Self::new(rule))),
            rule => match exact(rule) {
                Some((key, text)) => Self::Text(key, HashSet::from([text])),
                None => leaf_of(rule),
            },
        }
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Always => 0,
            Self::Text(..) => 1,
            Self::Not(inner) => inner.cost(),
            Self::All(inner) | Self::AnyOf(inner) => inner
                .iter()
                .fold(1, |sum: u32, one| sum.saturating_add(one.cost())),
            Self::Leaf(RbacRule::DestinationIp(_) | RbacRule::Client { .. }) => 1,
            Self::Leaf(_) => 4,
        }
    }

    /// Whether it holds.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::All(all) => all.iter().all(|one| one.matches(facts)),
            Self::AnyOf(any) => any.iter().any(|one| one.matches(facts)),
            Self::Not(inner) => !inner.matches(facts),
            Self::Text(key, values) => key.any(facts, |text| values.contains(text)),
            Self::Leaf(rule) => leaf(rule, facts),
        }
    }
}

/// Whether a rule without rules inside holds.
fn leaf(rule: &RbacRule, facts: &Facts<'_>) -> bool {
    match rule {
        RbacRule::Any => true,
        RbacRule::Header(matcher) => matcher.decide(|fits| facts.any_value(&matcher.name, fits)),
        RbacRule::Path(text) => facts.bare_path().is_some_and(|path| text.matches(path)),
        RbacRule::UriTemplate(template) => {
            let path = facts.bare_path();
            path.is_some_and(|path| template.regex.0.is_match(path))
        }
        RbacRule::DestinationIp(range) => range.contains(facts.destination.ip()),
        RbacRule::DestinationPort { start, end } => {
            (*start..*end).contains(&u32::from(facts.destination.port()))
        }
        RbacRule::Metadata { source, matcher } => {
            let metadata = facts.metadata_of(*source);
            match (source, metadata) {
                // without a route nothing is known of its metadata, which is not the same as none
                (meltemi_ir::RbacMetadata::Route, None) => false,
                (_, metadata) => matcher.matches(metadata),
            }
        }
        RbacRule::ServerName(text) => text.matches(facts.server_name),
        RbacRule::Authenticated(None) => facts.certificate.is_some(),
        RbacRule::Authenticated(Some(text)) => facts.any_principal(|name| text.matches_bytes(name)),
        RbacRule::VerifiedCertificate(wanted) => facts.certificate.is_some_and(|certificate| {
            let any =
                |text: &StringMatch, names: &[String]| names.iter().any(|name| text.matches(name));
            certificate.verified
                && match wanted {
                    None => true,
                    Some(SanMatch::Uri(text)) => any(text, certificate.uris),
                    Some(SanMatch::Dns(text)) => any(text, certificate.dns),
                    // refused by the conversion: these names are not kept with a connection
                    Some(SanMatch::Email(_) | SanMatch::Ip(_)) => false,
                    Some(SanMatch::Any(text)) => {
                        any(text, certificate.uris) || any(text, certificate.dns)
                    }
                }
        }),
        RbacRule::Client { address, range } => range.contains(facts.address(*address)),
        RbacRule::FilterState { key, value } => facts
            .filter_state
            .and_then(|state| state.get(key))
            .is_some_and(|text| value.matches(text)),
        RbacRule::All(_) | RbacRule::OneOf(_) | RbacRule::Not(_) => {
            Matcher::new(rule).matches(facts)
        }
    }
}
