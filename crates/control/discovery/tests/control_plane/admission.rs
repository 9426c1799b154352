//! Who gets a certificate, and who is served as which proxy.

use std::time::Duration;

use meltemi_spiffe::CertificateNames;
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use meltemi_xds_server::Kind;
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::{Delta, bearer, plaintext, sidecar};
use crate::harness::{Plane, SERVICES};
use crate::tls::{Certified, certificate, request, secure};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn sign(channel: Channel, token: Option<&str>) -> Result<Certified, Status> {
    let (key, csr) = request();
    let message = IstioCertificateRequest {
        csr,
        validity_duration: 3600,
        metadata: None,
    };
    let mut client = IstioCertificateServiceClient::new(channel);
    let answer = client.create_certificate(bearer(message, token)).await?;
    Ok(Certified {
        key,
        chain: answer.into_inner().cert_chain,
    })
}

pub fn identity(certified: &Certified) -> String {
    let names = CertificateNames::read(&certificate(&certified.chain[0])).unwrap();
    names.spiffe_id().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_a_certificate_and_the_certificate_its_successor() {
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let token = plane.control.tokens().issue("shop", "web", HOUR).unwrap();
    let anonymous = secure(&plane, None).await;
    let first = sign(anonymous.clone(), Some(&token)).await.unwrap();
    assert_eq!(identity(&first), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(first.chain.last(), Some(&plane.control.roots_pem()));
    let second = sign(secure(&plane, Some(&first)).await, None)
        .await
        .unwrap();
    assert_eq!(identity(&second), identity(&first));

    let refused = sign(anonymous.clone(), None).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let expired = plane.control.tokens().issue("shop", "web", Duration::ZERO);
    let refused = sign(anonymous, Some(&expired.unwrap()))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("expired"), "{refused}");
    // In plain text there is no such service: a token would be there for all to read.
    let refused = sign(plaintext(&plane).await, Some(&token))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_caller_is_served_as_itself_only() {
    let plane = Plane::start(&[("services.yaml", SERVICES)]).await;
    let token = plane.control.tokens().issue("shop", "web", HOUR).unwrap();
    let anonymous = secure(&plane, None).await;
    let certified = sign(anonymous.clone(), Some(&token)).await.unwrap();
    let known = secure(&plane, Some(&certified)).await;
    let cases = [
        (&anonymous, Some(token.as_str()), "shop", "web", None),
        (&known, None, "shop", "web", None),
        (&anonymous, None, "shop", "web", Some("no credentials")),
        (&known, None, "bank", "web", Some("the namespace bank")),
        (
            &known,
            None,
            "shop",
            "admin",
            Some("the service account admin"),
        ),
        (
            &anonymous,
            Some("meltemi-token-v1.YWI.YWI"),
            "shop",
            "web",
            Some("not issued"),
        ),
    ];
    for (channel, token, namespace, account, refusal) in cases {
        let node = sidecar("web", namespace, account);
        let mut client = Delta::open(channel.clone(), node, token).await;
        client.subscribe(Kind::Cluster, &[]).await;
        match (client.next().await, refusal) {
            (Ok((kind, _)), None) => assert_eq!(kind, Kind::Cluster),
            (Err(status), Some(part)) => {
                assert_eq!(status.code(), Code::PermissionDenied, "{status}");
                assert!(status.message().contains(part), "{status}");
            }
            (other, _) => panic!("{namespace}/{account}: {other:?}"),
        }
    }
    let mut stranger = sidecar("web", "shop", "web");
    stranger.id = "envoy-1".to_owned();
    let mut client = Delta::open(plaintext(&plane).await, stranger, None).await;
    client.subscribe(Kind::Cluster, &[]).await;
    let refused = client.next().await.unwrap_err();
    assert!(refused.message().contains("node.id"), "{refused}");
}

const SHOP_GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: shop, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  servers:
  - port: { number: 443, name: https, protocol: HTTPS }
    hosts: [shop.example]
    tls: { mode: SIMPLE, credentialName: shop }
";

/// A TLS Secret for the gateway.
fn credential() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["shop.example".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "shop", "namespace": "istio-system" },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate.unwrap().pem(), "tls.key": key.serialize_pem() },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_served_in_plain_text() {
    let credential = credential();
    let files = [("gateway.yaml", SHOP_GATEWAY), ("secret.yaml", &credential)];
    let plane = Plane::start(&files).await;
    let mut node = sidecar("gateway", "istio-system", "gateway");
    node.id = node.id.replacen("sidecar", "router", 1);
    let label = Value {
        kind: Some(ValueKind::StringValue("ingressgateway".to_owned())),
    };
    let labels = Value {
        kind: Some(ValueKind::StructValue(Struct {
            fields: [("istio".to_owned(), label)].into_iter().collect(),
        })),
    };
    let metadata = node.metadata.as_mut().unwrap();
    metadata.fields.insert("LABELS".to_owned(), labels);
    let token = plane.control.tokens();
    let token = token.issue("istio-system", "gateway", HOUR).unwrap();
    let name = "kubernetes://shop";
    let open = [
        (secure(&plane, None).await, Some(token.as_str()), 1),
        (plaintext(&plane).await, None, 0),
        (plaintext(&plane).await, Some(token.as_str()), 0),
    ];
    for (channel, token, served) in open {
        let mut gateway = Delta::open(channel, node.clone(), token).await;
        gateway.subscribe(Kind::Secret, &[name]).await;
        let answer = gateway.take(Kind::Secret).await;
        assert_eq!(answer.resources.len(), served, "{token:?}");
    }
}
