//! What a thousand rules cost a request: `cargo xtask bench rbac`.
//!
//! Prints the time of a decision for policies of several kinds, for a request that one of them
//! lets in and for one that none does. The goal is 2 µs for a thousand rules of exact matches.
#![allow(clippy::print_stdout, reason = "a program for a person")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::hint::black_box;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir::{
    HeaderMatch, HeaderMatchKind, MatchedHeader, Rbac, RbacAction, RbacPolicy, RbacRule,
    StringMatch,
};
use meltemi_rbac::{Certificate, Engine, Facts};
use regex::Regex;

/// How many rules.
const RULES: usize = 1000;

/// How many decisions are measured.
const TIMES: u32 = 200_000;

type Rule = fn(usize) -> RbacRule;

fn principal(number: usize) -> RbacRule {
    let name = format!("spiffe://cluster.local/ns/n{}/sa/s{number}", number % 50);
    RbacRule::Authenticated(Some(StringMatch::exact(name)))
}

fn path(number: usize) -> RbacRule {
    RbacRule::Path(StringMatch::exact(format!("/api/v1/things/{number}")))
}

fn header(number: usize) -> RbacRule {
    RbacRule::Header(HeaderMatch {
        name: MatchedHeader::Name(HeaderName::from_static("x-tenant")),
        kind: HeaderMatchKind::Value(StringMatch::exact(format!("tenant-{number}"))),
        invert: false,
        treat_missing_as_empty: false,
    })
}

fn same_path(_: usize) -> RbacRule {
    path(700)
}

fn any(_: usize) -> RbacRule {
    RbacRule::Any
}

fn prefix(number: usize) -> RbacRule {
    RbacRule::Path(StringMatch::Prefix {
        text: format!("/api/v1/things/{number}/"),
        ignore_case: false,
    })
}

fn namespace(number: usize) -> RbacRule {
    let regex = Regex::new(&format!("^(?:.*/ns/other{number}/.*)$"));
    RbacRule::Authenticated(regex.ok().map(StringMatch::Regex))
}

fn expression(number: usize) -> RbacRule {
    let regex = Regex::new(&format!("^(?:.*/sa/other{number}-.*)$"));
    RbacRule::Authenticated(regex.ok().map(StringMatch::Regex))
}

/// As many policies, each with one permission and one principal.
fn policies(permission: Rule, principal: Rule) -> Rbac {
    let policy = |number| {
        let policy = RbacPolicy {
            permissions: vec![RbacRule::All(vec![RbacRule::OneOf(vec![permission(
                number,
            )])])],
            principals: vec![RbacRule::All(vec![RbacRule::OneOf(vec![principal(
                number,
            )])])],
        };
        (format!("ns[default]-policy[many]-rule[{number}]"), policy)
    };
    Rbac {
        action: RbacAction::Allow,
        policies: (0..RULES).map(policy).collect(),
    }
}

/// One policy with as many alternatives.
fn one_policy(permission: Rule, principal: Rule) -> Rbac {
    let all = |rule: Rule| vec![RbacRule::OneOf((0..RULES).map(rule).collect())];
    let policy = RbacPolicy {
        permissions: all(permission),
        principals: all(principal),
    };
    Rbac {
        action: RbacAction::Allow,
        policies: [("one".to_owned(), policy)].into(),
    }
}

fn measure(what: &str, config: &Rbac, facts: &Facts<'_>, wanted: bool) {
    let engine = Engine::new(config);
    assert_eq!(engine.decide(facts).allowed, wanted, "{what}");
    let start = Instant::now();
    for _ in 0..TIMES {
        black_box(engine.decide(black_box(facts)));
    }
    let each = start.elapsed() / TIMES;
    println!("{what:<56} {:>8.3} µs", each.as_secs_f64() * 1e6);
}

fn main() {
    let uris = ["spiffe://cluster.local/ns/n0/sa/s700".to_owned()];
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("tenant-700"));
    let facts = Facts {
        method: "GET",
        scheme: "http",
        authority: "things.example",
        path: Some("/api/v1/things/700?full=true"),
        headers: &headers,
        certificate: Some(Certificate {
            verified: true,
            uris: &uris,
            ..Certificate::default()
        }),
        ..Facts::none()
    };
    let stranger = Facts {
        path: Some("/api/v1/things/70000"),
        certificate: None,
        headers: &HeaderMap::new(),
        ..facts.clone()
    };
    let kinds: [(&str, Rule, Rule); 6] = [
        ("a path each", path, any),
        ("a principal each", any, principal),
        ("a path and a principal each", path, principal),
        ("one path, a principal each", same_path, principal),
        ("a header each", header, any),
        ("a header and a principal each", header, principal),
    ];
    println!("a decision among {RULES} rules:");
    for (what, permission, principal) in kinds {
        let config = policies(permission, principal);
        measure(&format!("exact: {what}, let in"), &config, &facts, true);
        measure(
            &format!("exact: {what}, refused"),
            &config,
            &stranger,
            false,
        );
    }
    let config = one_policy(path, principal);
    measure(
        "exact: one policy of so many paths and principals",
        &config,
        &facts,
        true,
    );
    let config = policies(prefix, any);
    measure("a prefix each, refused", &config, &stranger, false);
    let config = policies(any, namespace);
    measure("a namespace each, refused", &config, &facts, false);
    let config = policies(any, expression);
    measure("an expression each, refused", &config, &facts, false);
}
