//! What a certificate costs: `cargo xtask bench ca`.
//!
//! Requests are signed one after the other on one thread, whose processor time counts, so that a busy
//! machine does not change the figures. First the authority alone: the request is read, its signature
//! checked, the certificate made and put on record. Then the service as agents call it, with the token
//! looked at and the identity's share counted, without the network.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for the one who runs it"
)]

use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::{
    Authorities, CaDirectory, CaMetrics, CsrService, FileTokens, HOLDER_HEADER, Limits, Purpose,
    TokenIssuer, Validity,
};
use meltemi_lifecycle::Clock;
use meltemi_spiffe::SpiffeId;
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_server::IstioCertificateService as _;
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

/// Different keys of each kind.
const KEYS: usize = 16;
/// Processes among which the certificates are spread.
const HOLDERS: usize = 1000;

/// Processor time of this thread, in nanoseconds.
fn spent() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn requests(kind: &'static SignatureAlgorithm) -> Vec<String> {
    let one = || {
        let key = KeyPair::generate_for(kind).unwrap();
        let request = CertificateParams::default().serialize_request(&key);
        request.unwrap().pem().unwrap()
    };
    (0..KEYS).map(|_| one()).collect()
}

fn report(name: &str, count: usize, from: u64) {
    let each = (spent() - from) as f64 / count as f64 / 1000.0;
    println!("{name:<44} {each:>8.0} µs {:>8.0} a second", 1e6 / each);
}

fn main() {
    let place = tempfile::tempdir().unwrap();
    let purpose = Purpose {
        trust_domain: "cluster.local".parse().unwrap(),
        validity: Validity::default(),
        clock: Clock::system(),
    };
    let directory = CaDirectory::new(place.path());
    let authorities = Authorities::open(directory.clone(), None, purpose.clone()).unwrap();
    let authorities = Arc::new(authorities);
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let holders: Vec<_> = (0..HOLDERS).map(|it| format!("web-{it}.shop")).collect();
    for (name, kind, count) in [
        ("sign, ECDSA P-256", &rcgen::PKCS_ECDSA_P256_SHA256, 20_000),
        ("sign, ECDSA P-384", &rcgen::PKCS_ECDSA_P384_SHA384, 4_000),
        ("sign, RSA 2048", &rcgen::PKCS_RSA_SHA256, 10_000),
    ] {
        let requests = requests(kind);
        let from = spent();
        for number in 0..count {
            let holder = holders[number % HOLDERS].as_str();
            let csr = &requests[number % KEYS];
            authorities.sign(csr, &id, Some(holder), None).unwrap();
        }
        report(name, count, from);
    }
    let key = directory.token_key().unwrap();
    let domain = purpose.trust_domain;
    let issuer = TokenIssuer::new(key.clone(), domain.clone(), purpose.clock);
    let hour = Duration::from_secs(3600);
    let token = issuer.issue("shop", "web", hour).unwrap();
    let token: tonic::metadata::MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    let limits = Limits {
        rate: 1e9,
        burst: 1e9,
        ..Limits::default()
    };
    let tokens = Arc::new(FileTokens::new(key, domain, purpose.clock));
    let metrics = CaMetrics::register(&mut Default::default());
    let service = CsrService::new(authorities, tokens, limits, metrics);
    let requests = requests(&rcgen::PKCS_ECDSA_P256_SHA256);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let count = 20_000;
        let from = spent();
        for number in 0..count {
            let mut request = tonic::Request::new(IstioCertificateRequest {
                csr: requests[number % KEYS].clone(),
                validity_duration: 24 * 3600,
                metadata: None,
            });
            let headers = request.metadata_mut();
            headers.insert("authorization", token.clone());
            headers.insert(HOLDER_HEADER, holders[number % HOLDERS].parse().unwrap());
            service.create_certificate(request).await.unwrap();
        }
        report("the whole service, ECDSA P-256", count, from);
    });
}
