//! The compiled engine against a slow and obvious one, on policies and requests made at random.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir::{
    ClientAddress, HeaderMatch, HeaderMatchKind, MatchedHeader, Metadata, MetadataMatch, Prefix,
    Rbac, RbacAction, RbacMetadata, RbacPolicy, RbacRule, RegexMatch, SanMatch, StringMatch,
    UriTemplate, Value, ValueMatch,
};
use meltemi_rbac::{Certificate, Engine, Explanation, Facts};
use regex::Regex;

/// How many sets of policies are made, and how many requests for each.
const ROUNDS: (u64, usize) = (400, 10);

const PATHS: [&str; 8] = ["/", "/a", "/A", "/a/b", "/a/b/c", "/admin", "/a%2Fb", "/b"];
const NAMES: [&str; 8] = [
    "spiffe://td/ns/a/sa/x",
    "/ns/ns/b/",
    "spiffe://td/ns/b\n/ns/a/sa/y",
    "spiffe://td/ns/b/c/sa/y/z",
    "spiffe://td/ns/b/sa/y",
    "SPIFFE://TD/NS/A/SA/X",
    "a.test",
    "CN=a",
];
const TEXTS: [&str; 6] = ["", "a", "A", "ab", "b", "a,b"];
const HEADERS: [&str; 3] = ["x-one", "x-two", "x-three"];
const ADDRESSES: [&str; 5] = [
    "10.0.0.1",
    "10.0.1.1",
    "192.168.0.1",
    "fd00::1",
    "fd00:1::1",
];
const PORTS: [u16; 3] = [80, 443, 8080];

fn one<'a>(rng: &mut Rng, list: &[&'a str]) -> &'a str {
    list[rng.usize(..list.len())]
}

fn string_match(rng: &mut Rng, list: &[&str]) -> StringMatch {
    let text = one(rng, list).to_owned();
    let ignore_case = rng.bool();
    let part = |rng: &mut Rng, text: &str| {
        let end = rng.usize(..=text.len());
        text[..end].to_owned()
    };
    match rng.u8(..8) {
        0..=3 => StringMatch::Exact { text, ignore_case },
        4 => StringMatch::Prefix {
            text: part(rng, &text),
            ignore_case,
        },
        5 => StringMatch::Suffix {
            text: text
                .chars()
                .rev()
                .take(2)
                .collect::<String>()
                .chars()
                .rev()
                .collect(),
            ignore_case,
        },
        6 => StringMatch::Contains { text, ignore_case },
        _ => StringMatch::Regex(beginning(&text)),
    }
}

/// The expression for what begins so.
fn beginning(text: &str) -> Regex {
    expression(format!("^(?:{}.*)$", regex::escape(text)))
}

/// What Istio writes for a namespace, and for a service account in one.
fn of_namespace(rng: &mut Rng) -> StringMatch {
    let namespace = one(rng, &["a", "b", "ns", "c"]);
    let account = one(rng, &["x", "y"]);
    StringMatch::Regex(expression(match rng.u8(..3) {
        0 => format!("^(?:spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?)$"),
        1 => format!("^(?:.*/ns/{namespace}/.*|.*/sa/{account})$"),
        _ => format!("^(?:.*/ns/{namespace}/.*)$"),
    }))
}

/// Each expression is compiled once.
fn expression(text: String) -> Regex {
    static KNOWN: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let make = |text: &String| Regex::new(text).unwrap();
    let compiled = known.get(&text).cloned().unwrap_or_else(|| make(&text));
    known.entry(text).or_insert(compiled).clone()
}

fn prefix(rng: &mut Rng) -> Prefix {
    let address: IpAddr = one(rng, &ADDRESSES).parse().unwrap();
    let most = if address.is_ipv4() { 32 } else { 128 };
    Prefix {
        address,
        length: rng.u8(..=most),
    }
}

fn rule(rng: &mut Rng, depth: u8) -> RbacRule {
    let list = |rng: &mut Rng| (0..rng.usize(1..5)).map(|_| rule(rng, depth - 1)).collect();
    if depth > 0 && rng.bool() {
        return match rng.u8(..5) {
            0 | 1 => RbacRule::All(list(rng)),
            2 | 3 => RbacRule::OneOf(list(rng)),
            _ => RbacRule::Not(Box::new(rule(rng, depth - 1))),
        };
    }
    match rng.u8(..16) {
        0 => RbacRule::Any,
        1..=3 => RbacRule::Path(string_match(rng, &PATHS)),
        4 => RbacRule::UriTemplate(UriTemplate {
            text: "/a/*".to_owned(),
            regex: RegexMatch(beginning("/a/")),
        }),
        5 | 6 => RbacRule::Header(HeaderMatch {
            name: match rng.u8(..7) {
                0 => MatchedHeader::Authority,
                1 => MatchedHeader::Method,
                2 => MatchedHeader::Path,
                3 => MatchedHeader::Scheme,
                _ => MatchedHeader::Name(HeaderName::from_static(HEADERS[rng.usize(..3)])),
            },
            kind: match rng.u8(..6) {
                0 => HeaderMatchKind::Present(rng.bool()),
                1 => HeaderMatchKind::Range { start: 0, end: 5 },
                _ => HeaderMatchKind::Value(string_match(rng, &TEXTS)),
            },
            invert: rng.u8(..4) == 0,
            treat_missing_as_empty: rng.u8(..4) == 0,
        }),
        7 => RbacRule::DestinationIp(prefix(rng)),
        8 => {
            let start = u32::from(PORTS[rng.usize(..3)]);
            RbacRule::DestinationPort {
                start,
                end: start + rng.u32(1..3),
            }
        }
        9 => RbacRule::Metadata {
            source: if rng.bool() {
                RbacMetadata::Dynamic
            } else {
                RbacMetadata::Route
            },
            matcher: MetadataMatch {
                path: vec!["n".to_owned(), "k".to_owned()],
                value: match rng.u8(..3) {
                    0 => ValueMatch::Present(true),
                    1 => ValueMatch::OneOf(Box::new(ValueMatch::Text(string_match(rng, &TEXTS)))),
                    _ => ValueMatch::Text(string_match(rng, &TEXTS)),
                },
                invert: rng.u8(..4) == 0,
            },
        },
        10 => RbacRule::ServerName(string_match(rng, &TEXTS)),
        11 | 12 => RbacRule::Authenticated(match rng.u8(..4) {
            0 => None,
            1 => Some(of_namespace(rng)),
            _ => Some(string_match(rng, &NAMES)),
        }),
        13 => RbacRule::VerifiedCertificate(match rng.u8(..3) {
            0 => None,
            1 => Some(SanMatch::Uri(string_match(rng, &NAMES))),
            _ => Some(SanMatch::Dns(string_match(rng, &NAMES))),
        }),
        14 => RbacRule::Client {
            address: [
                ClientAddress::Connection,
                ClientAddress::Direct,
                ClientAddress::Trusted,
            ][rng.usize(..3)],
            range: prefix(rng),
        },
        _ => RbacRule::FilterState {
            key: "s".to_owned(),
            value: string_match(rng, &TEXTS),
        },
    }
}

fn policies(rng: &mut Rng) -> Rbac {
    let list = |rng: &mut Rng| (0..rng.usize(1..4)).map(|_| rule(rng, 3)).collect();
    let mut policies = BTreeMap::new();
    for _ in 0..rng.usize(..40) {
        let policy = RbacPolicy {
            permissions: list(rng),
            principals: list(rng),
        };
        policies.insert(format!("p{}", rng.u16(..)), policy);
    }
    Rbac {
        action: [RbacAction::Allow, RbacAction::Deny, RbacAction::Log][rng.usize(..3)],
        policies,
    }
}

/// What a request's facts borrow from.
struct Request {
    path: String,
    headers: HeaderMap,
    metadata: Option<Metadata>,
    route: Option<Metadata>,
    state: BTreeMap<String, String>,
    uris: Vec<String>,
    dns: Vec<String>,
    subject: String,
}

impl Request {
    fn new(rng: &mut Rng) -> Self {
        let mut headers = HeaderMap::new();
        for name in HEADERS {
            for _ in 0..rng.usize(..3) {
                let value = HeaderValue::from_static(TEXTS[rng.usize(..TEXTS.len())]);
                headers.append(name, value);
            }
        }
        let metadata = |rng: &mut Rng| {
            let text = |rng: &mut Rng| Value::String(one(rng, &TEXTS).to_owned());
            let value = match rng.u8(..3) {
                0 => return None,
                1 => text(rng),
                _ => Value::List(vec![text(rng), text(rng)]),
            };
            let inner = BTreeMap::from([("k".to_owned(), value)]);
            Some(Metadata(BTreeMap::from([("n".to_owned(), inner)])))
        };
        let names = |rng: &mut Rng| {
            (0..rng.usize(..3))
                .map(|_| one(rng, &NAMES).to_owned())
                .collect()
        };
        let query = ["", "?a=/admin", "#x", "?x#/a"][rng.usize(..4)];
        Self {
            path: format!("{}{query}", one(rng, &PATHS)),
            headers,
            metadata: metadata(rng),
            route: metadata(rng),
            state: if rng.bool() {
                BTreeMap::from([("s".to_owned(), one(rng, &TEXTS).to_owned())])
            } else {
                BTreeMap::new()
            },
            uris: names(rng),
            dns: names(rng),
            subject: one(rng, &["", "CN=a"]).to_owned(),
        }
    }

    fn facts<'a>(&'a self, rng: &mut Rng) -> Facts<'a> {
        let address = |rng: &mut Rng| one(rng, &ADDRESSES).parse::<IpAddr>().unwrap();
        Facts {
            method: one(rng, &["GET", "a"]),
            scheme: one(rng, &["http", "https"]),
            authority: one(rng, &["a", "A", "ab", "host"]),
            path: (rng.u8(..8) > 0).then_some(self.path.as_str()),
            headers: &self.headers,
            destination: SocketAddr::new(address(rng), PORTS[rng.usize(..3)]),
            source: address(rng),
            direct_remote: address(rng),
            remote: address(rng),
            server_name: one(rng, &TEXTS),
            certificate: rng.bool().then(|| Certificate {
                verified: rng.bool(),
                uris: &self.uris,
                dns: &self.dns,
                subject: &self.subject,
            }),
            metadata: self.metadata.as_ref(),
            route_metadata: self.route.as_ref(),
            filter_state: Some(&self.state),
        }
    }
}

/// The obvious way: every policy, every rule, in order.
fn obvious(config: &Rbac, facts: &Facts<'_>) -> (bool, Option<String>) {
    let mut found = None;
    for (name, policy) in &config.policies {
        let permitted = policy.permissions.iter().any(|rule| holds(rule, facts));
        let principal = policy.principals.iter().any(|rule| holds(rule, facts));
        if permitted && principal {
            found = Some(name.clone());
            break;
        }
    }
    let allowed = match config.action {
        RbacAction::Allow => found.is_some(),
        RbacAction::Deny => found.is_none(),
        RbacAction::Log => true,
    };
    (allowed, found)
}

fn holds(rule: &RbacRule, facts: &Facts<'_>) -> bool {
    let path = facts
        .path
        .map(|path| path.split(['?', '#']).next().unwrap().to_owned());
    match rule {
        RbacRule::Any => true,
        RbacRule::All(rules) => !rules.iter().any(|rule| !holds(rule, facts)),
        RbacRule::OneOf(rules) => rules.iter().any(|rule| holds(rule, facts)),
        RbacRule::Not(rule) => !holds(rule, facts),
        RbacRule::Header(matcher) => header_holds(matcher, facts),
        RbacRule::Path(text) => path.is_some_and(|path| text_holds(text, &path)),
        RbacRule::UriTemplate(template) => {
            path.is_some_and(|path| template.regex.0.is_match(&path))
        }
        RbacRule::DestinationIp(range) => in_range(range, facts.destination.ip()),
        RbacRule::DestinationPort { start, end } => {
            let port = u32::from(facts.destination.port());
            port >= *start && port < *end
        }
        RbacRule::Metadata { source, matcher } => {
            let metadata = match source {
                RbacMetadata::Dynamic => facts.metadata.cloned().unwrap_or_default(),
                RbacMetadata::Route => match facts.route_metadata {
                    Some(metadata) => metadata.clone(),
                    None => return false,
                },
            };
            let value = metadata.0.get("n").and_then(|inner| inner.get("k"));
            matcher.value.matches(value) != matcher.invert
        }
        RbacRule::ServerName(text) => text_holds(text, facts.server_name),
        RbacRule::Authenticated(None) => facts.certificate.is_some(),
        RbacRule::Authenticated(Some(text)) => facts.certificate.is_some_and(|certificate| {
            let names = certificate.uris.iter().chain(certificate.dns);
            names.into_iter().any(|name| text_holds(text, name))
                || text_holds(text, certificate.subject)
        }),
        RbacRule::VerifiedCertificate(wanted) => match (facts.certificate, wanted) {
            (None, _) => false,
            (Some(certificate), _) if !certificate.verified => false,
            (Some(_), None) => true,
            (Some(it), Some(SanMatch::Uri(text))) => it.uris.iter().any(|n| text_holds(text, n)),
            (Some(it), Some(SanMatch::Dns(text))) => it.dns.iter().any(|n| text_holds(text, n)),
            (Some(_), Some(_)) => unreachable!(),
        },
        RbacRule::Client { address, range } => {
            let ip = match address {
                ClientAddress::Connection => facts.source,
                ClientAddress::Direct => facts.direct_remote,
                ClientAddress::Trusted => facts.remote,
            };
            in_range(range, ip)
        }
        RbacRule::FilterState { key, value } => {
            let state = facts.filter_state.unwrap().get(key);
            state.is_some_and(|text| text_holds(value, text))
        }
    }
}

fn header_holds(matcher: &HeaderMatch, facts: &Facts<'_>) -> bool {
    let mut values: Vec<String> = match &matcher.name {
        MatchedHeader::Authority => vec![facts.authority.to_owned()],
        MatchedHeader::Method => vec![facts.method.to_owned()],
        MatchedHeader::Scheme => vec![facts.scheme.to_owned()],
        MatchedHeader::Path => facts.path.iter().map(|path| (*path).to_owned()).collect(),
        MatchedHeader::Name(name) => {
            let values = facts.headers.get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect()
        }
    };
    if values.is_empty() && matcher.treat_missing_as_empty {
        values.push(String::new());
    }
    if let HeaderMatchKind::Present(wanted) = matcher.kind {
        // one that is taken as empty is there
        return (values.is_empty() != wanted) != matcher.invert;
    }
    let fits = |value: &String| match &matcher.kind {
        HeaderMatchKind::Value(text) => text_holds(text, value),
        HeaderMatchKind::Range { start, end } => {
            value.parse::<i64>().is_ok_and(|n| n >= *start && n < *end)
        }
        HeaderMatchKind::Present(_) => unreachable!(),
    };
    !values.is_empty() && values.iter().any(fits) != matcher.invert
}

fn text_holds(matcher: &StringMatch, text: &str) -> bool {
    let fold = |text: &str, ignore: bool| {
        if ignore {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match matcher {
        StringMatch::Exact {
            text: wanted,
            ignore_case: i,
        } => fold(text, *i) == fold(wanted, *i),
        StringMatch::Prefix {
            text: wanted,
            ignore_case: i,
        } => fold(text, *i).starts_with(&fold(wanted, *i)),
        StringMatch::Suffix {
            text: wanted,
            ignore_case: i,
        } => fold(text, *i).ends_with(&fold(wanted, *i)),
        StringMatch::Contains {
            text: wanted,
            ignore_case: i,
        } => fold(text, *i).contains(&fold(wanted, *i)),
        StringMatch::Regex(regex) => regex.is_match(text),
    }
}

fn in_range(range: &Prefix, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| -> Vec<bool> {
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let bits = bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
        bits.collect()
    };
    let length = usize::from(range.length);
    range.address.is_ipv4() == ip.is_ipv4() && bits(range.address)[..length] == bits(ip)[..length]
}

#[test]
fn the_compiled_engine_agrees_with_the_obvious_one() {
    let (rounds, requests) = ROUNDS;
    let mut decided = BTreeMap::new();
    for seed in 0..rounds {
        let mut rng = Rng::with_seed(seed);
        let config = policies(&mut rng);
        let engine = Engine::new(&config);
        for _ in 0..requests {
            let request = Request::new(&mut rng);
            let facts = request.facts(&mut rng);
            let (allowed, policy) = obvious(&config, &facts);
            let decision = engine.decide(&facts);
            let said = (decision.allowed, decision.policy.map(str::to_owned));
            let wanted = (allowed, policy.clone());
            assert_eq!(said, wanted, "seed {seed}: {facts:#?}\n{config:#?}");
            let explained = Explanation::new(&config, &facts);
            let matching = explained.policies.iter().find(|it| it.matches);
            assert_eq!(
                matching.map(|it| it.name.clone()),
                policy,
                "seed {seed}: explained otherwise"
            );
            *decided.entry((allowed, policy.is_some())).or_insert(0) += 1;
        }
    }
    // the policies are neither all met nor never
    assert!(
        decided.len() == 4 && decided.values().all(|count| *count > 40),
        "{decided:?}"
    );
}
