//! What a validation context may demand beside trust anchors and names.

use std::time::Duration;

use meltemi_ir::{SessionTickets, TicketKeySource, TicketKeys};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::{FailureKind, HandshakeFailure};

/// Changes what the client demands of the server, or the server of the client.
type Demand<'a> = &'a dyn Fn(&mut ValidationContext);

fn leaf(pem: &TlsCertificate) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&pem.chain_pem).unwrap()
}

/// Lets the client demand something of a server that has this certificate.
async fn judged(certificate: &TlsCertificate, roots: &Issuer, demand: Demand<'_>) -> Verdict {
    let server = DownstreamTls {
        certificates: vec![SecretRef::Inline(certificate.clone())],
        ..DownstreamTls::default()
    };
    let mut context = trust(roots);
    demand(&mut context);
    let client = UpstreamTls {
        validation: Some(SecretRef::Inline(context)),
        ..UpstreamTls::default()
    };
    let server = ServerContext::new(&server, SecretStore::new()).unwrap();
    let client = ClientContext::new(&client, SecretStore::new()).unwrap();
    verdict(&server, &client, Wishes::default()).await
}

/// Taken, and whether verified; or why not.
#[derive(Debug, PartialEq)]
enum Verdict {
    Taken { verified: bool },
    Refused(FailureKind, String),
}

const VERIFIED: Verdict = Verdict::Taken { verified: true };

fn refused(kind: FailureKind, text: &str) -> Verdict {
    Verdict::Refused(
        kind,
        format!(
            "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: {text}:TLS_error_end"
        ),
    )
}

fn of_chain(depth: usize, text: &str) -> Verdict {
    refused(
        FailureKind::Chain,
        &format!("X509_verify_cert: certificate verification error at depth {depth}: {text}"),
    )
}

async fn verdict(server: &ServerContext, client: &ClientContext, wishes: Wishes<'_>) -> Verdict {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (_, connected) = tokio::join!(server.accept(far), client.connect(near, wishes));
    match connected {
        Ok((_, session)) => Verdict::Taken {
            verified: session.verified,
        },
        Err(error) => {
            let HandshakeFailure { kind, reason } = HandshakeFailure::of(&error);
            Verdict::Refused(kind, reason)
        }
    }
}

#[tokio::test]
async fn fingerprints_and_untrusted_chains() {
    let (ours, theirs) = (authority("mesh"), authority("other"));
    let certificate = spiffe(&ours, CATALOG);
    let info = CertificateInfo::read(&leaf(&certificate)).unwrap();
    let digest = crate::anchors::sha256(&leaf(&certificate));
    let no_hash = "cert hash and spki";
    let cases: [(&str, Demand<'_>, Verdict); 9] = [
        (
            "the hash",
            &|it| it.certificate_hashes = vec![digest],
            VERIFIED,
        ),
        (
            "the key's",
            &|it| it.spki_hashes = vec![info.spki_sha256],
            VERIFIED,
        ),
        (
            "one of both",
            &|it| {
                it.certificate_hashes = vec![[0; 32]];
                it.spki_hashes = vec![[1; 32], info.spki_sha256];
            },
            VERIFIED,
        ),
        (
            "another hash",
            &|it| it.certificate_hashes = vec![[0; 32]],
            refused(FailureKind::Hash, no_hash),
        ),
        (
            "the hash without roots",
            &|it| {
                it.trusted_ca_pem.clear();
                it.certificate_hashes = vec![digest];
            },
            VERIFIED,
        ),
        (
            "other roots",
            &|it| it.trusted_ca_pem = theirs.pem().into_bytes(),
            of_chain(0, "unable to get local issuer certificate"),
        ),
        (
            "other roots, accepted",
            &|it| {
                it.trusted_ca_pem = theirs.pem().into_bytes();
                it.accept_untrusted = true;
            },
            Verdict::Taken { verified: false },
        ),
        (
            "the roots, and anything accepted",
            &|it| it.accept_untrusted = true,
            VERIFIED,
        ),
        (
            "another name, accepted",
            &|it| {
                it.accept_untrusted = true;
                it.san_matchers = uri(WEB);
            },
            Verdict::Taken { verified: false },
        ),
    ];
    for (name, demand, expected) in cases {
        assert_eq!(
            judged(&certificate, &ours, demand).await,
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn time() {
    let ours = authority("mesh");
    let expired = issue(&ours, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
    });
    let early = issue(&ours, |params| {
        params.not_before = date_time_ymd(2200, 1, 1);
        params.not_after = date_time_ymd(2200, 1, 2);
    });
    let strict = judged(&expired, &ours, &|_| {}).await;
    assert_eq!(strict, of_chain(0, "certificate has expired"));
    let strict = judged(&early, &ours, &|_| {}).await;
    assert_eq!(strict, of_chain(0, "certificate is not yet valid"));
    for certificate in [&expired, &early] {
        let lenient = judged(certificate, &ours, &|it| it.allow_expired = true).await;
        assert_eq!(lenient, VERIFIED);
    }
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let old = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let certificate = spiffe(&old, CATALOG);
    let strict = judged(&certificate, &old, &|_| {}).await;
    assert!(
        matches!(strict, Verdict::Refused(FailureKind::Chain, _)),
        "an anchor that has expired: {strict:?}"
    );
    let lenient = judged(&certificate, &old, &|it| it.allow_expired = true).await;
    assert_eq!(lenient, VERIFIED);
}

#[tokio::test]
async fn a_certificate_that_is_trusted_itself() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.subject_alt_names = vec![SanType::DnsName("self.test".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let key_pem = key.serialize_pem().into_bytes();
    let own = CertifiedIssuer::self_signed(params, key).unwrap();
    let certificate = TlsCertificate {
        chain_pem: own.pem().into_bytes(),
        key_pem,
    };
    assert_eq!(judged(&certificate, &own, &|_| {}).await, VERIFIED);
    let other = authority("other");
    let untrusted = judged(&certificate, &other, &|_| {}).await;
    assert_eq!(untrusted, of_chain(0, "self signed certificate"));
}

#[tokio::test]
async fn revocation_and_depth() {
    let root = authority("root");
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "between");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let between = CertifiedIssuer::signed_by(params, key, &root).unwrap();
    let numbered = |number: u64| {
        let mut certificate = issue(&between, |params| {
            params.serial_number = Some(SerialNumber::from(number));
        });
        certificate.chain_pem.extend(between.pem().into_bytes());
        certificate
    };
    let list = |issuer: &Issuer, revoked: &[u64], until: i32| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|number| RevokedCertParams {
                    serial_number: SerialNumber::from(*number),
                    revocation_time: date_time_ymd(2024, 1, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(issuer)
            .unwrap()
            .pem()
            .unwrap()
            .into_bytes()
    };
    let of_between = list(&between, &[7], 2200);
    let of_root = list(&root, &[], 2200);
    let both = [of_between.clone(), of_root].concat();
    let cases: [(&str, u64, Demand<'_>, Verdict); 8] = [
        ("no list", 7, &|_| {}, VERIFIED),
        (
            "revoked",
            7,
            &|it| it.crl_pem = Some(both.clone()),
            of_chain(
                0,
                "certificate revocation check against provided CRLs failed: certificate revoked",
            ),
        ),
        (
            "not revoked",
            8,
            &|it| it.crl_pem = Some(both.clone()),
            VERIFIED,
        ),
        (
            "a list of one issuer only",
            8,
            &|it| it.crl_pem = Some(of_between.clone()),
            of_chain(
                0,
                "certificate revocation check against provided CRLs failed: unable to get certificate CRL",
            ),
        ),
        (
            "which is enough for the leaf",
            8,
            &|it| {
                it.crl_pem = Some(of_between.clone());
                it.only_leaf_crl = true;
            },
            VERIFIED,
        ),
        (
            "a list among the anchors",
            7,
            &|it| it.trusted_ca_pem.extend_from_slice(&both),
            of_chain(
                0,
                "certificate revocation check against provided CRLs failed: certificate revoked",
            ),
        ),
        (
            "deep enough",
            7,
            &|it| it.max_verify_depth = Some(1),
            VERIFIED,
        ),
        (
            "too deep",
            7,
            &|it| it.max_verify_depth = Some(0),
            of_chain(0, "certificate chain too long"),
        ),
    ];
    for (name, number, demand, expected) in cases {
        let certificate = numbered(number);
        assert_eq!(
            judged(&certificate, &root, demand).await,
            expected,
            "{name}"
        );
    }
    let old = [list(&between, &[], 2025), list(&root, &[], 2025)].concat();
    let verdict = judged(&numbered(8), &root, &|it| it.crl_pem = Some(old.clone())).await;
    assert_eq!(
        verdict,
        of_chain(
            0,
            "certificate revocation check against provided CRLs failed: CRL has expired"
        )
    );
}

#[tokio::test]
async fn a_server_must_bear_the_name_it_is_called_by() {
    let ours = authority("mesh");
    let certificate = issue(&ours, |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("*.wild.test".try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ];
    });
    let server = DownstreamTls {
        certificates: vec![SecretRef::Inline(certificate)],
        ..DownstreamTls::default()
    };
    let server = ServerContext::new(&server, SecretStore::new()).unwrap();
    let client = |by_server_name| {
        let client = UpstreamTls {
            validation: Some(SecretRef::Inline(trust(&ours))),
            auto_host_sni: true,
            auto_sni_san_validation: by_server_name,
            ..UpstreamTls::default()
        };
        ClientContext::new(&client, SecretStore::new()).unwrap()
    };
    let of_subject = |subject| Wishes {
        server_name: Some("a.wild.test"),
        subject: Some(subject),
        ..Wishes::default()
    };
    let of_host = |host| Wishes {
        host,
        ..Wishes::default()
    };
    let missing = |expected: &str| {
        refused(
            FailureKind::San,
            &format!(
                "verify SAN list, expected SANs: [{expected}], certificate SANs: [*.wild.test, 127.0.0.1]"
            ),
        )
    };
    let no_match = refused(
        FailureKind::San,
        "SAN matcher, certificate SANs are [*.wild.test, 127.0.0.1]",
    );
    let any = client(false);
    assert_eq!(
        verdict(&server, &any, of_subject("a.wild.test")).await,
        VERIFIED
    );
    // The session of the right name is there to be resumed, but not under the wrong one.
    let wrong = verdict(&server, &any, of_subject("a.other.test")).await;
    assert_eq!(wrong, missing("a.other.test"));
    assert_eq!(
        verdict(&server, &any, of_subject("127.0.0.1")).await,
        VERIFIED
    );
    assert_eq!(
        verdict(&server, &any, of_host("elsewhere.test")).await,
        VERIFIED
    );
    let strict = client(true);
    assert_eq!(
        verdict(&server, &strict, of_host("b.wild.test")).await,
        VERIFIED
    );
    assert_eq!(
        verdict(&server, &strict, of_host("elsewhere.test")).await,
        no_match
    );
}

#[tokio::test]
async fn tickets_go_as_far_as_their_keys() {
    let ours = authority("mesh");
    let certificate = spiffe(&ours, CATALOG);
    let client_certificate = spiffe(&ours, WEB);
    let server = |keys: TicketKeySource, context: ValidationContext| {
        let tls = DownstreamTls {
            certificates: vec![SecretRef::Inline(certificate.clone())],
            validation: Some(SecretRef::Inline(context)),
            require_client_certificate: true,
            tickets: SessionTickets {
                keys,
                lifetime: Some(Duration::from_secs(60)),
            },
            ..DownstreamTls::default()
        };
        ServerContext::new(&tls, SecretStore::new()).unwrap()
    };
    let client = || {
        let tls = UpstreamTls {
            certificates: vec![SecretRef::Inline(client_certificate.clone())],
            validation: Some(SecretRef::Inline(trust(&ours))),
            sni: "a.test".to_owned(),
            ..UpstreamTls::default()
        };
        ClientContext::new(&tls, SecretStore::new()).unwrap()
    };
    let given = |keys: &[u8]| {
        let keys = keys.iter().map(|byte| [*byte; 80]).collect();
        TicketKeySource::Given(SecretRef::Inline(TicketKeys(keys)))
    };
    let second = |first: TicketKeySource, other: TicketKeySource, context: ValidationContext| {
        let (one, other) = (server(first, trust(&ours)), server(other, context));
        let client = client();
        async move {
            talk(&one, &client).await.unwrap();
            talk(&other, &client).await.unwrap().0.resumed
        }
    };
    let same = || trust(&ours);
    assert!(second(given(&[1]), given(&[2, 1]), same()).await);
    assert!(!second(given(&[1]), given(&[2]), same()).await);
    assert!(!second(TicketKeySource::Own, TicketKeySource::Own, same()).await);
    // Where more is demanded, what was shown for less does not do.
    let strict = ValidationContext {
        san_matchers: uri(WEB),
        ..same()
    };
    assert!(!second(given(&[1]), given(&[1]), strict).await);
    let client = client();
    let none = server(TicketKeySource::None, same());
    talk(&none, &client).await.unwrap();
    assert!(!talk(&none, &client).await.unwrap().0.resumed);
}

#[tokio::test]
async fn signature_algorithms() {
    let ours = authority("mesh");
    let certificate = spiffe(&ours, CATALOG);
    for (names, works) in [
        (vec!["ecdsa_secp256r1_sha256"], true),
        (vec!["rsa_pss_rsae_sha256", "ECDSA+SHA256"], true),
        (vec!["rsa_pss_rsae_sha256"], false),
    ] {
        let server = DownstreamTls {
            certificates: vec![SecretRef::Inline(certificate.clone())],
            ..DownstreamTls::default()
        };
        let client = UpstreamTls {
            signature_algorithms: names.iter().map(|name| (*name).to_owned()).collect(),
            ..UpstreamTls::default()
        };
        let server = ServerContext::new(&server, SecretStore::new()).unwrap();
        let client = ClientContext::new(&client, SecretStore::new()).unwrap();
        let worked = talk(&server, &client).await.is_ok();
        assert_eq!(worked, works, "{names:?}");
    }
    let unknown = UpstreamTls {
        signature_algorithms: vec!["md5".to_owned()],
        ..UpstreamTls::default()
    };
    let error = ClientContext::new(&unknown, SecretStore::new())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("signature_algorithms"),
        "{error}"
    );
}

#[test]
fn what_is_of_use_only_with_roots() {
    for demand in [
        &(|it: &mut ValidationContext| it.san_matchers = uri(WEB)) as Demand<'_>,
        &|it| it.crl_pem = Some(Vec::new()),
        &|it| it.allow_expired = true,
    ] {
        let mut context = ValidationContext::default();
        demand(&mut context);
        let tls = UpstreamTls {
            validation: Some(SecretRef::Inline(context)),
            ..UpstreamTls::default()
        };
        let error = ClientContext::new(&tls, SecretStore::new()).err().unwrap();
        assert!(error.to_string().contains("trusted_ca"), "{error}");
    }
}
