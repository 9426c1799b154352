//! The keys of token issuers, from a server to a proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use meltemi_discovery::{IssuerKeys, IssuerOptions};
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::harness::{Plane, SERVICES, eventually};
use crate::tls;

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"served","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A server whose `/keys` gives key sets, `/moved` leads there and `/big` is larger than any key set.
async fn issuer() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let keys = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { KEYS }
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let configuration = format!(r#"{{"jwks_uri":"http://{address}/keys"}}"#);
    let moved = || async { (StatusCode::FOUND, [(header::LOCATION, "/keys")]).into_response() };
    let routes = Router::new()
        .route("/keys", get(keys))
        .route("/moved", get(moved))
        .route("/text", get(|| async { "no keys" }))
        .route("/useless", get(|| async { r#"{"keys":[{"kty":"RSA"}]}"# }))
        .route("/big", get(|| async { "x".repeat(2 << 20) }))
        .route(
            "/.well-known/openid-configuration",
            get(move || async move { configuration }),
        );
    tokio::spawn(async move { axum::serve(socket, routes).await });
    (address, asked)
}

fn policy(name: &str, rule: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: {name}, namespace: shop }}
spec: {{ jwtRules: [{{ {rule} }}] }}
"
    )
}

async fn plane(rule: &str) -> Plane {
    Plane::start(&[("policy.yaml", &policy("tokens", rule))]).await
}

/// What is said to be wrong, once something is.
async fn problem(plane: &Plane) -> String {
    eventually("a problem", || async {
        let problems = plane.control.states().borrow().problems.clone();
        problems.first().map(ToString::to_string)
    })
    .await
}

/// The keys that proxies are sent, once there are some.
async fn keys(plane: &Plane) -> String {
    eventually("keys", || async {
        let states = plane.control.states();
        let snapshot = states.borrow().snapshot.clone();
        let source = snapshot.key_sources().next()?;
        snapshot.keys(source).map(str::to_owned)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_by_address_and_by_discovery() {
    let (address, asked) = issuer().await;
    let by_address = plane(&format!("issuer: me, jwksUri: 'http://{address}/keys'")).await;
    assert_eq!(keys(&by_address).await, KEYS);
    let by_discovery = plane(&format!("issuer: 'http://{address}/'")).await;
    assert_eq!(keys(&by_discovery).await, KEYS);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(by_address.control.states().borrow().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_is_named_and_then_resolved() {
    let (address, _) = issuer().await;
    for (path, reason) in [
        ("text", "is not a JSON Web Key Set"),
        ("useless", "is not a JSON Web Key Set"),
        ("big", "cannot be read"),
        ("nothing", "404 Not Found"),
        ("moved", "leads to a private address"),
    ] {
        let plane = plane(&format!("issuer: me, jwksUri: 'http://{address}/{path}'")).await;
        let problem = problem(&plane).await;
        let place = "RequestAuthentication shop/tokens: spec.jwtRules[0].jwksUri";
        assert!(problem.contains(place), "{problem}");
        assert!(problem.contains(reason), "{problem}");
        assert!(
            problem.contains("every token of me is refused"),
            "{problem}"
        );
        plane.write(
            "policy.yaml",
            &policy(
                "tokens",
                &format!("issuer: me, jwksUri: 'http://{address}/keys'"),
            ),
        );
        assert_eq!(keys(&plane).await, KEYS);
        eventually("no problem is left", || async {
            let problems = plane.control.states().borrow().problems.clone();
            problems.is_empty().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_private_addresses_can_be_allowed() {
    let (address, _) = issuer().await;
    let policy = policy(
        "tokens",
        &format!("issuer: me, jwksUri: 'http://{address}/moved'"),
    );
    let plane = Plane::with(&[("policy.yaml", &policy)], |options| {
        options.private_key_redirects = true;
    })
    .await
    .unwrap();
    assert_eq!(keys(&plane).await, KEYS);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_those_who_vouch_for_workloads_are_fetched_too() {
    let signer = meltemi_testkit::TokenSigner::new();
    let keys = signer.key_set().to_string();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let routes = Router::new().route("/keys", get(move || async move { keys }));
    tokio::spawn(async move { axum::serve(socket, routes).await });
    let issuer = |name: &str, keys: String| IssuerOptions {
        issuer: name.to_owned(),
        audiences: vec!["istio-ca".to_owned()],
        keys: IssuerKeys::Uri(keys),
    };
    let plane = Plane::with(&[("services.yaml", SERVICES)], |options| {
        options.issuers = vec![
            issuer("https://there", format!("http://{address}/keys")),
            issuer("https://gone", format!("http://{address}/gone")),
        ];
    })
    .await
    .unwrap();
    let ask = async |issuer: &str| {
        let claims = serde_json::json!({
            "iss": issuer, "aud": "istio-ca", "exp": 9_999_999_999_u64,
            "sub": "system:serviceaccount:shop:catalog",
        });
        let token = signer.token(&serde_json::json!({ "alg": "ES256" }), &claims);
        let (_key, csr) = tls::request();
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr,
            validity_duration: 3600,
            metadata: None,
        });
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let channel = tls::secure(&plane, None).await;
        let mut client = IstioCertificateServiceClient::new(channel);
        client.create_certificate(request).await
    };
    // Between the start and the first keys the answer is that they are not here yet.
    eventually("a certificate", || async {
        ask("https://there").await.ok()
    })
    .await;
    let status = ask("https://gone").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    assert!(status.message().contains("the keys of https://gone"));
    let status = ask("https://nobody").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
}
