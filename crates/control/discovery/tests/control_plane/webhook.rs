//! The webhook, as an API server calls it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::Plane;

async fn start() -> Plane {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Plane::with(&[], |it| it.webhooks = Some(any))
        .await
        .unwrap()
}

/// Status and body of an answer.
async fn ask(plane: &Plane, head: &str, body: &[u8]) -> (u16, String) {
    let mut roots = RootCertStore::empty();
    let bundle = plane.control.roots_pem();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(plane.addresses.webhooks.unwrap())
        .await
        .unwrap();
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!(
        "{head}\r\nhost: istiod\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that has read enough may have gone.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn review(action: &str, dry: bool) -> Vec<u8> {
    let object = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": { "name": "p", "namespace": "shop" },
        "spec": { "action": action, "rules": [{}] },
    });
    let request = json!({ "uid": "u", "operation": "CREATE", "dryRun": dry, "namespace": "shop", "object": object });
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
    review.to_string().into_bytes()
}

const JSON: &str = "POST /validate?timeout=10s HTTP/1.1\r\ncontent-type: application/json";

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_asks() {
    let plane = start().await;
    for dry in [false, true] {
        let (status, body) = ask(&plane, JSON, &review("ALLOW", dry)).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["response"], json!({ "uid": "u", "allowed": true }));
        let (status, body) = ask(&plane, JSON, &review("ALOW", dry)).await;
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("AuthorizationPolicy shop/p: spec.action: "),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_refused_and_says_why() {
    let plane = start().await;
    let good = review("ALLOW", false);
    let large = vec![b' '; 3 * 1024 * 1024 + 1];
    let text = "POST /validate HTTP/1.1\r\ncontent-type: text/plain";
    for (head, body, expected, part) in [
        (text, &good, 415, "send application/json"),
        (JSON, &b"{}".to_vec(), 400, "not an AdmissionReview"),
        (JSON, &large, 413, "more than 3145728 bytes"),
        ("GET /validate HTTP/1.1", &Vec::new(), 405, ""),
        ("POST /inject HTTP/1.1", &good, 404, ""),
    ] {
        let (status, said) = ask(&plane, head, body).await;
        assert_eq!(status, expected, "{head}: {said}");
        assert!(said.contains(part), "{head}: {said}");
    }
}
