#![allow(clippy::unwrap_used)]

use std::time::Duration;

use meltemi_testkit::TokenSigner;
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn claims(edit: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "aud": ["istio-ca"],
        "sub": "system:serviceaccount:shop:web",
        "exp": NOW + 600,
        "nbf": NOW - 10,
        "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "web" } },
    });
    edit(&mut claims);
    claims
}

#[tokio::test(start_paused = true)]
async fn a_token_is_believed_if_everything_about_it_is_right() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys.json");
    let signer = TokenSigner::new();
    std::fs::write(&keys, signer.key_set().to_string()).unwrap();
    let options = IssuerOptions {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        keys: IssuerKeys::File(keys),
    };
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let tokens = IssuerTokens::new(options, "cluster.local".parse().unwrap(), clock).unwrap();
    let rs256 = || json!({ "alg": "RS256" });
    let stranger = TokenSigner::new();
    type Case = (&'static str, String, Result<(), &'static str>);
    let with = |edit: fn(&mut Value)| signer.token(&rs256(), &claims(edit));
    let cases: [Case; 17] = [
        ("good", with(|_| {}), Ok(())),
        (
            "EC",
            signer.token(&json!({ "alg": "ES256" }), &claims(|_| {})),
            Ok(()),
        ),
        (
            "one audience",
            with(|it| it["aud"] = json!("istio-ca")),
            Ok(()),
        ),
        (
            "expired within the skew",
            with(|it| it["exp"] = json!(NOW - 59)),
            Ok(()),
        ),
        (
            "expired",
            with(|it| it["exp"] = json!(NOW - 61)),
            Err("Jwt is expired"),
        ),
        (
            "not yet",
            with(|it| it["nbf"] = json!(NOW + 61)),
            Err("Jwt not yet valid"),
        ),
        (
            "for ever",
            with(|it| drop(it.as_object_mut().unwrap().remove("exp"))),
            Err("no exp"),
        ),
        (
            "audience",
            with(|it| it["aud"] = json!(["vault"])),
            Err("Audiences"),
        ),
        (
            "no audience",
            with(|it| drop(it.as_object_mut().unwrap().remove("aud"))),
            Err("Audiences"),
        ),
        (
            "issuer",
            with(|it| it["iss"] = json!("https://other")),
            Err("no kind"),
        ),
        (
            "subject",
            with(|it| it["sub"] = json!("admin")),
            Err("is no system:serviceaccount"),
        ),
        (
            "path",
            with(|it| it["sub"] = json!("system:serviceaccount:a:b/sa/c")),
            Err("is no system:serviceaccount"),
        ),
        (
            "contradiction",
            with(|it| it["kubernetes.io"]["namespace"] = json!("bank")),
            Err("different accounts"),
        ),
        (
            "stranger",
            stranger.token(&rs256(), &claims(|_| {})),
            Err("verification fails"),
        ),
        (
            "none",
            signer.token(&json!({ "alg": "none" }), &claims(|_| {})),
            Err("[alg] is not supported"),
        ),
        (
            "shared secret",
            signer.token(&json!({ "alg": "HS256" }), &claims(|_| {})),
            Err("[alg] is not supported"),
        ),
        (
            "no token",
            "meltemi-token-v1.a.b".to_owned(),
            Err("no kind"),
        ),
    ];
    for (name, token, expected) in cases {
        match (tokens.check(&token), expected) {
            (Ok(id), Ok(())) => {
                assert_eq!(
                    id.to_string(),
                    "spiffe://cluster.local/ns/shop/sa/web",
                    "{name}"
                );
            }
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{name}: {error}");
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_followed_and_kept_when_they_are_no_good() {
    let place = tempfile::tempdir().unwrap();
    let keys = place.path().join("keys.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut write = {
        let mut time = SystemTime::UNIX_EPOCH;
        let keys = keys.clone();
        move |text: &str| {
            std::fs::write(&keys, text).unwrap();
            time += Duration::from_secs(1);
            let file = std::fs::File::options().append(true).open(&keys).unwrap();
            file.set_modified(time).unwrap();
        }
    };
    write("no keys");
    let options = IssuerOptions {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        keys: IssuerKeys::File(keys),
    };
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let open = || IssuerTokens::new(options.clone(), "cluster.local".parse().unwrap(), clock);
    let error = open().err().unwrap().to_string();
    assert!(
        error.contains("keys.pem: Jwks doesn't have any valid"),
        "{error}"
    );
    write(&key.public_key_pem());
    let tokens = open().unwrap();
    assert_eq!(tokens.keys().unwrap().len(), 1);
    write("");
    assert_eq!(tokens.keys().unwrap().len(), 1, "those of before");
    let other = rcgen::KeyPair::generate().unwrap();
    write(&[key.public_key_pem(), other.public_key_pem()].concat());
    assert_eq!(tokens.keys().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_from_elsewhere_are_waited_for_and_kept() {
    let signer = TokenSigner::new();
    let options = IssuerOptions {
        issuer: ISSUER.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        keys: IssuerKeys::Uri("https://issuer.example/keys".to_owned()),
    };
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    let tokens = IssuerTokens::new(options, "cluster.local".parse().unwrap(), clock).unwrap();
    let token = signer.token(&json!({ "alg": "RS256" }), &claims(|_| {}));
    let error = tokens.check(&token).unwrap_err();
    assert!(matches!(error, AuthError::Unavailable(_)), "{error}");
    // Another issuer's tokens are no concern of these keys.
    let other = claims(|it| it["iss"] = json!("https://other"));
    let other = signer.token(&json!({ "alg": "RS256" }), &other);
    assert_eq!(tokens.check(&other).unwrap_err(), AuthError::Unknown);
    tokens.bring(&signer.key_set().to_string()).unwrap();
    tokens.check(&token).unwrap();
    for no_keys in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
    ] {
        let brought = tokens.bring(no_keys);
        // A secret is a key, but no token is believed for it.
        assert_eq!(brought.is_err(), !no_keys.contains("oct"), "{no_keys}");
        if brought.is_err() {
            tokens.check(&token).unwrap();
        }
    }
}
