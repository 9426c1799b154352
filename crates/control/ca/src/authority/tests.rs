#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rcgen::CertifiedIssuer;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const START: SystemTime = SystemTime::UNIX_EPOCH;

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn start() -> SystemTime {
    START + Duration::from_secs(1_800_000_000)
}

fn authority() -> CertificateAuthority {
    let material = Material::self_signed(&domain(), start()).unwrap();
    let clock = Clock::starting_at(start());
    CertificateAuthority::new(&material, domain(), Validity::default(), clock).unwrap()
}

fn csr(key: &KeyPair, edit: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    edit(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Checks a workload's chain as a TLS client would: rustls's verifier under the wrong name gets
/// past the path and stops at the name, for an SVID has no DNS name.
fn check_path(
    authority: &CertificateAuthority,
    issued: &Issued,
    now: SystemTime,
) -> Result<(), rustls::Error> {
    let rest: Vec<_> = issued.chain.iter().map(|it| der(it)).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.roots()[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
    let since = now.duration_since(START).unwrap();
    verifier
        .verify_client_cert(&rest[0], &rest[1..], UnixTime::since_unix_epoch(since))
        .map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_certificate_says_who_the_caller_is_and_nothing_else() {
    let authority = authority();
    let request = csr(&KeyPair::generate().unwrap(), |params| {
        params.distinguished_name.push(DnType::CommonName, "root");
        params.subject_alt_names = vec![
            SanType::URI("spiffe://cluster.local/ns/a/sa/admin".try_into().unwrap()),
            SanType::DnsName("bank.example".try_into().unwrap()),
        ];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let issued = authority
        .sign(&request, &WEB.parse().unwrap(), None)
        .unwrap();
    assert_eq!(issued.chain.len(), 1, "the root is no part of it");
    check_path(&authority, &issued, start()).unwrap();

    let leaf = der(&issued.chain[0]);
    let names = meltemi_spiffe::CertificateNames::read(&leaf).unwrap();
    assert_eq!(names.uris, [WEB]);
    assert_eq!(names.dns, [""; 0]);
    assert_eq!(names.subject, "");
    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    assert!(!parsed.is_ca());
    assert!(parsed.raw_serial().len() >= 14, "{:?}", parsed.raw_serial());
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    assert!(parsed.subject_alternative_name().unwrap().unwrap().critical);
    let seconds = i64::try_from(start().duration_since(START).unwrap().as_secs()).unwrap();
    assert_eq!(names.not_before, seconds - 120);
    assert_eq!(names.not_after, seconds + 24 * 3600);
}

#[tokio::test(start_paused = true)]
async fn validity_is_what_was_asked_for_within_bounds() {
    let authority = authority();
    let request = csr(&KeyPair::generate().unwrap(), |_| {});
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (requested, granted) in [
        (None, hours(24)),
        (Some(Duration::ZERO), hours(24)),
        (Some(hours(1)), hours(1)),
        (Some(hours(90 * 24)), hours(90 * 24)),
    ] {
        let issued = authority.sign(&request, &WEB.parse().unwrap(), requested);
        assert_eq!(
            issued.unwrap().not_after,
            start() + granted,
            "{requested:?}"
        );
    }
    let too_long = hours(90 * 24) + Duration::from_secs(1);
    let refused = authority.sign(&request, &WEB.parse().unwrap(), Some(too_long));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "requested TTL 7776001 s is greater than the max allowed TTL 7776000 s"
    );
}

#[tokio::test(start_paused = true)]
async fn no_two_certificates_have_the_same_serial() {
    let authority = authority();
    let request = csr(&KeyPair::generate().unwrap(), |_| {});
    let id: SpiffeId = WEB.parse().unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        let issued = authority.sign(&request, &id, None).unwrap();
        assert_eq!(issued.serial.len(), 32, "128 bits");
        let names = meltemi_spiffe::CertificateNames::read(&der(&issued.chain[0])).unwrap();
        assert_eq!(
            names.serial.trim_start_matches('0'),
            issued.serial.trim_start_matches('0')
        );
        assert!(seen.insert(issued.serial));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_outlives_the_authority() {
    let authority = authority();
    let id: SpiffeId = WEB.parse().unwrap();
    let request = csr(&KeyPair::generate().unwrap(), |_| {});
    tokio::time::advance(ROOT_VALIDITY - Duration::from_secs(3600)).await;
    let issued = authority.sign(&request, &id, None).unwrap();
    assert_eq!(issued.not_after, start() + ROOT_VALIDITY);
    tokio::time::advance(Duration::from_secs(3600)).await;
    let refused = authority.sign(&request, &id, None);
    assert_eq!(refused, Err(SignError::Expired));
}

#[tokio::test(start_paused = true)]
async fn keys_are_signed_for_or_refused() {
    let authority = authority();
    let id: SpiffeId = WEB.parse().unwrap();
    let cases: [(KeyPair, Option<&str>); 5] = [
        (
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            None,
        ),
        (
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
            None,
        ),
        (
            KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
            None,
        ),
        (
            KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            Some("another sort of key"),
        ),
        (
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(),
            Some("another elliptic curve"),
        ),
    ];
    for (key, refusal) in cases {
        let signed = authority.sign(&csr(&key, |_| {}), &id, None);
        match (signed, refusal) {
            (Ok(issued), None) => check_path(&authority, &issued, start()).unwrap(),
            (Err(SignError::Request(RequestError::Key(text))), Some(refusal)) => {
                assert_eq!(text, refusal);
            }
            (other, _) => panic!("{:?}: {other:?}", key.algorithm()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_must_be_signed_by_its_own_key() {
    let authority = authority();
    let id: SpiffeId = WEB.parse().unwrap();
    let mine = KeyPair::generate().unwrap();
    let text = csr(&mine, |_| {});
    let request = rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
    let mut bytes = request.unwrap().to_vec();
    // Another's public key in the place of the one that signed.
    let own = mine.public_key_raw();
    let at = bytes.windows(own.len()).position(|it| it == own).unwrap();
    let other = KeyPair::generate().unwrap();
    bytes[at..at + own.len()].copy_from_slice(other.public_key_raw());
    let forged = chain::pem(&bytes.into()).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let refused = authority.sign(&forged, &id, None);
    assert_eq!(refused, Err(SignError::Request(RequestError::Signature)));

    for garbage in [
        "",
        "no pem",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        let refused = authority.sign(garbage, &id, None);
        let malformed = matches!(refused, Err(SignError::Request(RequestError::Malformed(_))));
        assert!(malformed, "{garbage:?}: {refused:?}");
    }
    let foreign: SpiffeId = "spiffe://other.org/ns/a/sa/b".parse().unwrap();
    let refused = authority.sign(&text, &foreign, None);
    assert!(matches!(refused, Err(SignError::TrustDomain(..))));
}

#[tokio::test(start_paused = true)]
async fn a_server_certificate_is_good_for_its_names() {
    let authority = authority();
    let names = ["istiod.istio-system.svc".to_owned(), "localhost".to_owned()];
    let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let keyed = authority
        .server_certificate(&names, &addresses, None)
        .unwrap();
    assert_eq!(keyed.not_after, start() + Duration::from_secs(24 * 3600));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.roots()[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
    let now = UnixTime::since_unix_epoch(start().duration_since(START).unwrap());
    use rustls::client::danger::ServerCertVerifier as _;
    for (name, fine) in [
        ("istiod.istio-system.svc", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("bank.example", false),
        ("127.0.0.2", false),
    ] {
        let server = ServerName::try_from(name).unwrap();
        let verified =
            verifier.verify_server_cert(&keyed.chain[0], &keyed.chain[1..], &server, &[], now);
        assert_eq!(verified.is_ok(), fine, "{name}");
    }
}

type Signer = CertifiedIssuer<'static, KeyPair>;

fn above(name: &str, parent: Option<&Signer>) -> Signer {
    let mut params = parameters(start(), start() + ROOT_VALIDITY).unwrap();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    match parent {
        Some(parent) => CertifiedIssuer::signed_by(params, key, parent).unwrap(),
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugged_in_authority_brings_its_chain() {
    let root = above("root", None);
    let middle = above("middle", Some(&root));
    let signer = above("signer", Some(&middle));
    let stranger = above("stranger", None);
    let key = signer.key().serialize_pem();
    let new = |cert_chain: String, ca_key: &str, ca_cert: String| {
        let material = Material {
            ca_cert,
            ca_key: ca_key.to_owned(),
            cert_chain,
            root_cert: root.pem(),
        };
        let clock = Clock::starting_at(start());
        CertificateAuthority::new(&material, domain(), Validity::default(), clock)
    };
    // As Istio's own script writes the chain: signer, middle, root.
    let full = [signer.pem(), middle.pem(), root.pem()].concat();
    let authority = new(full.clone(), &key, signer.pem()).unwrap();
    let request = csr(&KeyPair::generate().unwrap(), |_| {});
    let issued = authority
        .sign(&request, &WEB.parse().unwrap(), None)
        .unwrap();
    let issuers: Vec<_> = issued.chain[1..].iter().map(|it| der(it)).collect();
    assert_eq!(
        issuers,
        [&signer, &middle].map(|it| it.der().clone()),
        "each once"
    );
    assert_eq!(authority.roots(), [root.der().clone()]);
    assert_eq!(authority.root().subject, "O=root");
    check_path(&authority, &issued, start()).unwrap();

    let error =
        |made: Result<CertificateAuthority, ChainError>| made.err().map(|it| it.to_string());
    let other = stranger.key().serialize_pem();
    for (made, message) in [
        (
            new(signer.pem(), &key, signer.pem()),
            "the chain ends at \"O=signer\": its issuer \"O=middle\" is neither in cert-chain.pem nor in root-cert.pem",
        ),
        (
            new(full.clone(), &other, signer.pem()),
            "ca-key.pem: not the key of the certificate in ca-cert.pem",
        ),
        (
            new(full.clone(), &key, stranger.pem()),
            "the chain ends at \"O=stranger\": its issuer \"O=stranger\" is neither in cert-chain.pem nor in root-cert.pem",
        ),
        (
            new(full, &key, String::new()),
            "ca-cert.pem: holds no certificate",
        ),
    ] {
        assert_eq!(error(made).as_deref(), Some(message));
    }
}
