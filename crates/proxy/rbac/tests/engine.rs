//! What policies decide, and what is said of it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use meltemi_ir::{Rbac, RbacAction, RbacPolicy, RbacRule, StringMatch};
use meltemi_rbac::{Certificate, Engine, Explanation, Facts, denial_details};

fn path(text: &str) -> RbacRule {
    RbacRule::Path(StringMatch::exact(text))
}

fn principal(text: &str) -> RbacRule {
    RbacRule::Authenticated(Some(StringMatch::exact(text)))
}

fn policies(action: RbacAction, all: Vec<(&str, RbacRule, RbacRule)>) -> Rbac {
    let policies = all.into_iter().map(|(name, permission, principal)| {
        let policy = RbacPolicy {
            permissions: vec![permission],
            principals: vec![principal],
        };
        (name.to_owned(), policy)
    });
    Rbac {
        action,
        policies: policies.collect(),
    }
}

#[test]
fn no_policies_let_nobody_in_or_everybody() {
    let none = |action| Rbac {
        action,
        policies: BTreeMap::new(),
    };
    let facts = Facts::none();
    assert!(!Engine::new(&none(RbacAction::Allow)).decide(&facts).allowed);
    assert!(Engine::new(&none(RbacAction::Deny)).decide(&facts).allowed);
    assert!(Engine::new(&none(RbacAction::Log)).decide(&facts).allowed);
}

#[test]
fn the_first_policy_by_name_decides() {
    let all = vec![
        ("b", path("/a"), RbacRule::Any),
        ("a", path("/a"), RbacRule::Any),
    ];
    let config = policies(RbacAction::Deny, all);
    let facts = Facts {
        path: Some("/a?b"),
        ..Facts::none()
    };
    let engine = Engine::new(&config);
    let decision = engine.decide(&facts);
    assert_eq!((decision.allowed, decision.policy), (false, Some("a")));
}

#[test]
fn a_policy_among_many_is_found() {
    let names: Vec<_> = (0..1000).map(|number| format!("p{number:04}")).collect();
    let all = names.iter().enumerate().map(|(number, name)| {
        (
            name.as_str(),
            path(&format!("/{number}")),
            principal(&format!("client {}", number % 7)),
        )
    });
    let engine = Engine::new(&policies(RbacAction::Allow, all.collect()));
    let uris = ["client 3".to_owned()];
    let ask = |path: &str| {
        let facts = Facts {
            path: Some(path),
            certificate: Some(Certificate {
                verified: true,
                uris: &uris,
                ..Certificate::default()
            }),
            ..Facts::none()
        };
        engine.decide(&facts).policy.map(str::to_owned)
    };
    assert_eq!(ask("/703").as_deref(), Some("p0703"));
    assert_eq!(ask("/704"), None);
    assert_eq!(ask("/7030"), None);
}

#[test]
fn an_explanation_names_what_decides() {
    let all = vec![
        ("first", path("/a"), principal("x")),
        (
            "second",
            path("/b"),
            RbacRule::Not(Box::new(principal("x"))),
        ),
    ];
    let config = policies(RbacAction::Allow, all);
    let facts = Facts {
        path: Some("/b"),
        ..Facts::none()
    };
    let explained = Explanation::new(&config, &facts);
    assert!(explained.allowed);
    assert_eq!(explained.because, "policy second lets it in");
    let because: Vec<_> = explained
        .policies
        .iter()
        .map(|it| it.because.as_str())
        .collect();
    assert_eq!(
        because,
        [
            r#"it is not so that the path is "/a""#,
            r#"the path is "/b", and it is not so that the client's name is "x""#,
        ]
    );
}

#[test]
fn a_name_in_a_log_has_no_blanks() {
    assert_eq!(
        denial_details(None),
        "rbac_access_denied_matched_policy[none]"
    );
    let details = denial_details(Some("a b\tc"));
    assert_eq!(details, "rbac_access_denied_matched_policy[a_b_c]");
}
