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
use crate::{
    Authenticators, CaDirectory, ClientCertificates, FileTokens, Purpose, TokenIssuer, Validity,
};

const OTHER: &str = "spiffe://cluster.local/ns/bank/sa/vault";

fn asking_for(key: &str, value: &str) -> prost_types::Struct {
    let kind = prost_types::value::Kind::StringValue(value.to_owned());
    let field = (key.to_owned(), prost_types::Value { kind: Some(kind) });
    prost_types::Struct {
        fields: [field].into_iter().collect(),
    }
}

struct Bench {
    service: CsrService,
    issuer: TokenIssuer,
    registry: Registry,
    _place: tempfile::TempDir,
}

fn bench(limits: Limits) -> Bench {
    let place = tempfile::tempdir().unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let clock = Clock::starting_at(start);
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    let directory = CaDirectory::new(place.path());
    let purpose = Purpose {
        trust_domain: domain.clone(),
        validity: Validity::default(),
        clock,
    };
    let authorities = Authorities::open(directory.clone(), None, purpose);
    let key = directory.token_key().unwrap();
    let authenticators = Authenticators::new(vec![
        Arc::new(ClientCertificates::new(domain.clone())),
        Arc::new(FileTokens::new(key.clone(), domain.clone(), clock)),
    ]);
    let mut registry = Registry::default();
    Bench {
        service: CsrService::new(
            Arc::new(authorities.unwrap()),
            Arc::new(authenticators),
            limits,
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
    let bench = bench(Limits::default());
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
    impersonation.get_mut().metadata = Some(asking_for(IMPERSONATED, OTHER));
    let mut signer = request(Some(&token(60)));
    signer.get_mut().metadata = Some(asking_for(SIGNER, "mine"));
    let mut long = request(Some(&token(60)));
    long.get_mut().validity_duration = i64::MAX;
    let mut large = request(Some(&token(60)));
    large.get_mut().csr.push_str(&"x".repeat(20_000));
    for (request, code, text) in [
        (request(None), Code::Unauthenticated, "no credentials"),
        (
            request(Some(&expired)),
            Code::Unauthenticated,
            "expired 9 s ago",
        ),
        (
            request(Some("meltemi-token-v1.x")),
            Code::Unauthenticated,
            "malformed",
        ),
        (request(Some("other")), Code::Unauthenticated, "no kind"),
        (
            garbage,
            Code::InvalidArgument,
            "csr: not a certificate signing request",
        ),
        (
            impersonation,
            Code::PermissionDenied,
            "metadata.ImpersonatedIdentity: spiffe://cluster.local/ns/shop/sa/web may have no",
        ),
        (signer, Code::Unimplemented, "metadata.CertSigner"),
        (long, Code::InvalidArgument, "max allowed TTL"),
        (large, Code::InvalidArgument, "are more than the 16384"),
    ] {
        let refused = bench.service.create_certificate(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }

    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &bench.registry).unwrap();
    for line in [
        "citadel_server_csr_count_total 11",
        "citadel_server_success_cert_issuance_count_total 2",
        "citadel_server_authentication_failure_count_total 6",
        "citadel_server_csr_parsing_err_count_total 1",
        "citadel_server_csr_sign_err_count_total 1",
        "meltemi_ca_csr_limited_count_total 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

struct OneNode;

#[tonic::async_trait]
impl NodeAuthorizer for OneNode {
    async fn authorize(&self, caller: &SpiffeId, workload: &SpiffeId) -> Result<(), String> {
        let allowed = caller.to_string().ends_with("/sa/ztunnel") && workload.to_string() == OTHER;
        let refusal = || format!("{workload} does not run on the node of {caller}");
        allowed.then_some(()).ok_or_else(refusal)
    }
}

#[tokio::test(start_paused = true)]
async fn a_nodes_agent_asks_for_the_workloads_of_its_node() {
    let bench = bench(Limits::default());
    let service = bench.service.clone().with_nodes(Arc::new(OneNode));
    let ask = async |account: &str, other: &str| {
        let token = bench
            .issuer
            .issue("kube-system", account, Duration::from_secs(60));
        let mut request = request(Some(&token.unwrap()));
        request.get_mut().metadata = Some(asking_for(IMPERSONATED, other));
        let answer = service.create_certificate(request).await;
        answer.map(|answer| {
            let chain = answer.into_inner().cert_chain;
            let leaf = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
            CertificateNames::read(&leaf).unwrap().uris
        })
    };
    assert_eq!(ask("ztunnel", OTHER).await.unwrap(), [OTHER]);
    let elsewhere = "spiffe://cluster.local/ns/shop/sa/web";
    for (account, other, code) in [
        ("ztunnel", elsewhere, Code::PermissionDenied),
        ("web", OTHER, Code::PermissionDenied),
        ("ztunnel", "web", Code::InvalidArgument),
    ] {
        let refused = ask(account, other).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_has_to_wait() {
    let bench = bench(Limits {
        rate: 1.0,
        burst: 2.0,
        ..Limits::default()
    });
    let ask = async |account: &str| {
        let token = bench.issuer.issue("shop", account, Duration::from_secs(60));
        let asked = bench
            .service
            .create_certificate(request(Some(&token.unwrap())));
        asked.await.map(drop).map_err(|status| status.code())
    };
    assert_eq!(ask("web").await, Ok(()));
    assert_eq!(ask("web").await, Ok(()));
    assert_eq!(ask("web").await, Err(Code::ResourceExhausted));
    assert_eq!(ask("db").await, Ok(()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask("web").await, Ok(()));
    let none = Limits {
        concurrent: 0,
        ..Limits::default()
    };
    let full = self::bench(none);
    let refused = full.service.create_certificate(request(None)).await;
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
}
