//! Who gets a certificate, and who is served as which proxy.

use std::time::Duration;

use meltemi_spiffe::CertificateNames;
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use meltemi_xds_server::Kind;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::client::{Delta, bearer, plaintext, sidecar};
use crate::harness::{Plane, SERVICES};
use crate::tls::{Certified, certificate, request, secure};

const HOUR: Duration = Duration::from_secs(3600);

async fn sign(channel: Channel, token: Option<&str>) -> Result<Certified, Status> {
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

fn identity(certified: &Certified) -> String {
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
