//! The root is replaced step by step, and never ahead of a proxy.

use std::time::Duration;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use meltemi_xds_server::Kind;
use serde_json::Value;

use crate::client::{Delta, bearer, plaintext, sidecar};
use crate::harness::{Plane, SERVICES, eventually};
use crate::tls::{request, secure};

async fn plane() -> Plane {
    let patience = Duration::from_millis(300);
    Plane::with(&[("shop.yaml", SERVICES)], |it| {
        it.rotation_patience = patience;
        it.rotation_settle = Duration::ZERO;
    })
    .await
    .unwrap()
}

/// An agent's stream.
async fn agent(plane: &Plane, pod: &str) -> Delta {
    let mut agent = Delta::open(plaintext(plane).await, sidecar(pod, "shop", "web"), None).await;
    agent.subscribe(Kind::ProxyConfig, &[]).await;
    agent
}

/// The next bundle, not confirmed yet.
async fn told(agent: &mut Delta) -> (Vec<String>, DeltaDiscoveryResponse) {
    let (kind, message) = agent.next().await.unwrap();
    assert_eq!(kind, Kind::ProxyConfig);
    let body = message.resources[0].resource.clone().unwrap();
    let config: ProxyConfig = any::unpack(&body).unwrap();
    (config.ca_certificates_pem, message)
}

/// The next bundle, which is confirmed.
async fn takes(agent: &mut Delta) -> Vec<String> {
    let (bundle, message) = told(agent).await;
    agent.answer(&message, None).await;
    bundle
}

async fn waits_for(plane: &Plane, what: &str) -> Value {
    eventually(what, || async {
        let status = plane.json("/debug/ca").await;
        let waiting = status["waitingFor"].to_string();
        waiting.contains(what).then_some(status)
    })
    .await
}

async fn phase(plane: &Plane, phase: &str) -> Value {
    eventually(phase, || async {
        let status = plane.json("/debug/ca").await;
        (status["phase"] == phase).then_some(status)
    })
    .await
}

/// A certificate for the pod, and the bundle that comes with it.
async fn certify(plane: &Plane, holder: &str) -> Vec<String> {
    let token = plane.control.tokens();
    let token = token.issue("shop", "web", Duration::from_secs(60)).unwrap();
    let (_key, csr) = request();
    let message = IstioCertificateRequest {
        csr,
        validity_duration: 3600,
        metadata: None,
    };
    let mut message = bearer(message, Some(&token));
    let metadata = message.metadata_mut();
    metadata.insert("x-meltemi-holder", holder.parse().unwrap());
    let mut client = IstioCertificateServiceClient::new(secure(plane, None).await);
    let answer = client.create_certificate(message).await.unwrap();
    answer.into_inner().cert_chain
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_with_a_root_that_somebody_does_not_trust() {
    let plane = plane().await;
    let mut first = agent(&plane, "web-1").await;
    let mut second = agent(&plane, "web-2").await;
    let old = takes(&mut first).await;
    assert_eq!(takes(&mut second).await, old);
    assert_eq!(certify(&plane, "web-1").await[1], old[0]);
    // A proxy without an agent takes no bundles.
    let silent = sidecar("old-1", "shop", "web");
    let mut silent = Delta::open(plaintext(&plane).await, silent, None).await;
    silent.subscribe(Kind::Cluster, &[]).await;
    eventually("agents are no proxies", || async {
        let rows = plane.json("/debug/syncz").await;
        (rows.as_array().unwrap().len() == 1).then_some(())
    })
    .await;

    let (status, body) = plane.post("/debug/ca/rotate", "localhost", "{}").await;
    assert_eq!(status, 200, "{body}");
    let both = takes(&mut first).await;
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], old[0], "what signs goes first");
    assert_eq!(told(&mut second).await.0, both);
    waits_for(&plane, "web-2.shop has not confirmed the trust bundle").await;
    let status = waits_for(&plane, "old-1.shop does not take trust bundles").await;
    assert_eq!(status["phase"], "distributing");
    assert_eq!(certify(&plane, "web-1").await[1], both.concat());
    let (status, body) = plane.post("/debug/ca/rotate", "localhost", "{}").await;
    assert_eq!(
        (status, body.as_str()),
        (409, "a rotation is under way: distributing\n")
    );

    // Who has gone is waited for, and in the end is not.
    drop(silent);
    waits_for(&plane, "old-1.shop is away").await;
    drop(second);
    waits_for(&plane, "web-2.shop is away").await;
    phase(&plane, "replacing").await;
    let (turned, message) = told(&mut first).await;
    assert_eq!(turned, [both[1].clone(), both[0].clone()]);
    waits_for(
        &plane,
        "web-1.shop has not confirmed a certificate of the new root",
    )
    .await;
    let status = waits_for(&plane, "certificates of the old root").await;
    assert_eq!(status["roots"][1]["certificates"], 1);
    assert_eq!(certify(&plane, "web-1").await[1], turned.concat());
    // The certificate is replaced, but the proxy has not said so yet.
    let status = waits_for(&plane, "web-1.shop has not confirmed a certificate").await;
    assert_eq!(status["waitingFor"].as_array().unwrap().len(), 1);
    first.answer(&message, None).await;
    let status = phase(&plane, "steady").await;
    assert_eq!(status["roots"].as_array().unwrap().len(), 1);
    assert_eq!(takes(&mut first).await, [both[1].clone()]);
    assert_eq!(plane.control.roots_pem(), both[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_this_machine_rotates() {
    let plane = plane().await;
    let (status, _) = plane
        .post("/debug/ca/rotate", "attacker.example", "{}")
        .await;
    assert_eq!(status, 403);
    let (status, _) = plane.post("/debug/ca/rotate", "localhost", "none").await;
    assert_eq!(status, 400);
    let (status, body) = plane
        .post("/debug/ca/rotate", "127.0.0.1:15014", "{\"force\":true}")
        .await;
    assert_eq!((status, body.as_str()), (409, "no rotation is under way\n"));
    let (status, _) = plane.get("/debug/ca/rotate").await;
    assert_eq!(status, 405);
    assert_eq!(plane.json("/debug/ca").await["phase"], "steady");
}
