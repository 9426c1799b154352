#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use meltemi_lifecycle::Clock;
use meltemi_spiffe::{CertificateNames, TrustDomain};
use prometheus_client::registry::Registry;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::Code;

use super::*;
use crate::{Authenticators, CaDirectory, ClientCertificates, FileTokens, TokenIssuer, Validity};

struct Bench {
    service: CsrService,
    issuer: TokenIssuer,
    registry: Registry,
    _place: tempfile::TempDir,
}

fn bench() -> Bench {
    let place = tempfile::tempdir().unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let clock = Clock::starting_at(start);
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    let directory = CaDirectory::new(place.path());
    let authority = directory.load_or_create(&domain, Validity::default(), clock);
    let key = directory.token_key().unwrap();
    let authenticators = Authenticators::new(vec![
        Arc::new(ClientCertificates::new(domain.clone())),
        Arc::new(FileTokens::new(key.clone(), domain.clone(), clock)),
    ]);
    let mut registry = Registry::default();
    Bench {
        service: CsrService::new(
            Arc::new(authority.unwrap()),
            Arc::new(authenticators),
            CaMetrics::register(&mut registry),
        ),
        issuer: TokenIssuer::new(key, domain, clock),
        registry,
        _place: place,
    }
}

fn request(token: Option<&str>) -> Request<IstioCertificateRequest> {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let mut request = Request::new(IstioCertificateRequest {
        csr: csr.pem().unwrap(),
        validity_duration: 3600,
        metadata: None,
    });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

#[tokio::test(start_paused = true)]
async fn callers_get_their_own_certificate_or_the_reason() {
    let bench = bench();
    let token = |seconds| {
        let lifetime = Duration::from_secs(seconds);
        bench.issuer.issue("shop", "web", lifetime).unwrap()
    };
    let expired = token(1);
    tokio::time::advance(Duration::from_secs(10)).await;

    let answer = bench
        .service
        .create_certificate(request(Some(&token(60))))
        .await;
    let chain = answer.unwrap().into_inner().cert_chain;
    let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let names = CertificateNames::read(&leaf).unwrap();
    assert_eq!(names.uris, ["spiffe://cluster.local/ns/shop/sa/web"]);
    assert_eq!(names.not_after - names.not_before, 3600 + 120);

    let mut renewal = request(None);
    let identity = "spiffe://cluster.local/ns/shop/sa/db".to_owned();
    renewal
        .extensions_mut()
        .insert(PeerIdentities(vec![identity]));
    assert!(bench.service.create_certificate(renewal).await.is_ok());

    let mut garbage = request(Some(&token(60)));
    garbage.get_mut().csr = "none".to_owned();
    let mut impersonation = request(Some(&token(60)));
    let fields = [(IMPERSONATED.to_owned(), prost_types::Value::default())];
    impersonation.get_mut().metadata = Some(prost_types::Struct {
        fields: fields.into_iter().collect(),
    });
    for (request, code, text) in [
        (request(None), Code::Unauthenticated, "no credentials"),
        (
            request(Some(&expired)),
            Code::Unauthenticated,
            "expired 9 s ago",
        ),
        (request(Some("forged")), Code::Unauthenticated, "malformed"),
        (
            garbage,
            Code::InvalidArgument,
            "csr: not a certificate signing request",
        ),
        (
            impersonation,
            Code::Unimplemented,
            "metadata.ImpersonatedIdentity",
        ),
    ] {
        let refused = bench.service.create_certificate(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }

    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &bench.registry).unwrap();
    for line in [
        "citadel_server_csr_count_total 7",
        "citadel_server_success_cert_issuance_count_total 2",
        "citadel_server_authentication_failure_count_total 4",
        "citadel_server_csr_parsing_err_count_total 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
