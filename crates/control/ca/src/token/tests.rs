#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::{Authenticators, ClientCertificates};

fn key(byte: u8) -> TokenKey {
    TokenKey::from_text(&STANDARD.encode([byte; 32])).unwrap()
}

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_believed_until_it_expires() {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let issuer = TokenIssuer::new(key(1), domain(), clock);
    let tokens = FileTokens::new(key(1), domain(), clock);
    let token = issuer
        .issue("shop", "web", Duration::from_secs(60))
        .unwrap();
    assert!(token.starts_with("meltemi-token-v1."), "{token}");
    let id = tokens.check(&token).unwrap();
    assert_eq!(id.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(tokens.check(&token).is_ok());
    tokio::time::advance(Duration::from_secs(2)).await;
    let refused = tokens.check(&token).unwrap_err();
    assert_eq!(refused.to_string(), "the token expired 1 s ago");
}

#[tokio::test(start_paused = true)]
async fn forged_and_malformed_tokens_are_refused() {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let hour = Duration::from_secs(3600);
    let tokens = FileTokens::new(key(1), domain(), clock);
    let issue = |by: u8, account: &str| {
        TokenIssuer::new(key(by), domain(), clock)
            .issue("shop", account, hour)
            .unwrap()
    };
    let good = issue(1, "web");
    let admin = issue(2, "admin");
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap().to_owned();
    let spliced = format!("{PREFIX}.{}.{}", part(&admin, 1), part(&good, 2));
    for token in [admin.as_str(), &spliced] {
        assert_eq!(tokens.check(token), Err(AuthError::Forged), "{token}");
    }
    let cut = &good[..good.rfind('.').unwrap()];
    for token in ["", "eyJ.a.b"] {
        assert_eq!(tokens.check(token), Err(AuthError::Unknown), "{token}");
    }
    for token in [cut, &format!("{cut}.*")] {
        let refused = tokens.check(token);
        assert!(
            matches!(refused, Err(AuthError::Malformed(_))),
            "{token}: {refused:?}"
        );
    }
    let issuer = TokenIssuer::new(key(1), domain(), clock);
    assert!(issuer.issue("shop/../admin", "web", hour).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_first_that_believes_decides() {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let both = Authenticators::new(vec![
        Arc::new(ClientCertificates::new(domain())),
        Arc::new(FileTokens::new(key(1), domain(), clock)),
    ]);
    let issuer = TokenIssuer::new(key(1), domain(), clock);
    let token = issuer
        .issue("shop", "web", Duration::from_secs(60))
        .unwrap();
    let web = "spiffe://cluster.local/ns/shop/sa/web".to_owned();
    let foreign = "spiffe://other.org/ns/shop/sa/web".to_owned();
    let path = "spiffe://cluster.local/other/form".to_owned();
    type Case<'a> = (Option<&'a str>, Vec<String>, Result<&'a str, &'a str>);
    let cases: [Case<'_>; 7] = [
        (None, vec![], Err("no credentials")),
        (Some(&token), vec![], Ok(&web)),
        (None, vec![web.clone()], Ok(&web)),
        (Some("old"), vec![web.clone()], Ok(&web)),
        (None, vec![web.clone(), web.clone()], Err("2 URI names")),
        (None, vec![foreign], Err("is not of cluster.local")),
        (None, vec![path], Err("has no namespace and account")),
    ];
    for (token, identities, expected) in cases {
        let credentials = Credentials {
            token,
            identities: &identities,
        };
        match (both.authenticate(&credentials).await, expected) {
            (Ok(id), Ok(expected)) => assert_eq!(id.to_string(), expected),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error}");
            }
            (other, _) => panic!("{identities:?}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_token_is_worth_nothing_once_a_newer_one_was_used() {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let issuer = TokenIssuer::new(key(1), domain(), clock);
    let tokens = FileTokens::new(key(1), domain(), clock);
    let day = Duration::from_secs(24 * 3600);
    let issue = |account: &str| issuer.issue("shop", account, day).unwrap();
    let (old, other) = (issue("web"), issue("db"));
    tokio::time::advance(Duration::from_secs(OVERLAP + 1)).await;
    let new = issue("web");
    assert!(tokens.check(&old).is_ok(), "no newer one has been used");
    assert!(tokens.check(&new).is_ok());
    assert_eq!(tokens.check(&old), Err(AuthError::Superseded));
    assert!(tokens.check(&other).is_ok(), "it is another workload's");
    assert!(tokens.check(&new).is_ok());
    let key = key(1);
    assert_eq!(format!("{key:?}"), "TokenKey([redacted])");
}

#[tokio::test(start_paused = true)]
async fn an_old_token_is_worth_nothing_after_a_restart_either() {
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let issuer = TokenIssuer::new(key(1), domain(), clock);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("used-tokens");
    let start = || {
        let tokens = FileTokens::new(key(1), domain(), clock);
        tokens.remembering(&path).unwrap()
    };
    let issue = || {
        let day = Duration::from_secs(24 * 3600);
        issuer.issue("shop", "web", day).unwrap()
    };
    let old = issue();
    tokio::time::advance(Duration::from_secs(OVERLAP + 1)).await;
    let new = issue();
    start().check(&old).unwrap();
    start().check(&new).unwrap();
    assert_eq!(start().check(&old), Err(AuthError::Superseded));
    start().check(&new).unwrap();
}
