#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use meltemi_ir::{
    CertificateSource, ConfigSource, DownstreamTls, SanMatch, Secret, SecretRef, StringMatch,
    TlsCertificate, TlsVersion, UpstreamTls, ValidationContext,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

mod validation;

use crate::{
    CertificateInfo, ClientContext, SecretStore, ServerContext, SessionInfo, TlsError,
    WantedSecret, Wishes,
};

const WEB: &str = "spiffe://cluster.local/ns/default/sa/web";
const CATALOG: &str = "spiffe://cluster.local/ns/default/sa/catalog";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(issuer: &Issuer, edit: impl FnOnce(&mut CertificateParams)) -> TlsCertificate {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    edit(&mut params);
    let certificate = params.signed_by(&key, issuer).unwrap();
    TlsCertificate {
        chain_pem: certificate.pem().into_bytes(),
        key_pem: key.serialize_pem().into_bytes(),
    }
}

fn spiffe(issuer: &Issuer, id: &str) -> TlsCertificate {
    issue(issuer, |params| {
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    })
}

fn named<T>(name: &str) -> SecretRef<T> {
    SecretRef::Sds {
        name: name.to_owned(),
        source: CertificateSource::Discovered(ConfigSource::default()),
    }
}

fn trust(issuer: &Issuer) -> ValidationContext {
    ValidationContext {
        trusted_ca_pem: issuer.pem().into_bytes(),
        ..ValidationContext::default()
    }
}

fn uri(id: &str) -> Vec<SanMatch> {
    vec![SanMatch::Uri(StringMatch::exact(id))]
}

fn names(san_matchers: Vec<SanMatch>) -> ValidationContext {
    ValidationContext {
        san_matchers,
        ..ValidationContext::default()
    }
}

fn downstream() -> DownstreamTls {
    DownstreamTls {
        certificates: vec![named("server")],
        validation: Some(named("server-roots")),
        require_client_certificate: true,
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..DownstreamTls::default()
    }
}

fn upstream() -> UpstreamTls {
    UpstreamTls {
        certificates: vec![named("client")],
        validation: Some(named("client-roots")),
        validation_defaults: names(uri(CATALOG)),
        sni: "outbound_.80_._.catalog.default.svc.cluster.local".to_owned(),
        alpn: vec![b"h2".to_vec()],
        ..UpstreamTls::default()
    }
}

/// A store in which the mesh's two workloads trust one authority.
fn mesh(authority: &Issuer) -> Arc<SecretStore> {
    let store = SecretStore::new();
    store.set("server", Secret::Certificate(spiffe(authority, CATALOG)));
    store.set("client", Secret::Certificate(spiffe(authority, WEB)));
    store.set("server-roots", Secret::Validation(trust(authority)));
    store.set("client-roots", Secret::Validation(trust(authority)));
    store
}

/// Both ends' view of a connection over which a byte went each way.
async fn talk(
    server: &ServerContext,
    client: &ClientContext,
) -> Result<(SessionInfo, SessionInfo), String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = async {
        let (mut stream, session) = server
            .accept(far)
            .await
            .map_err(|e| format!("server: {e}"))?;
        let byte = stream.read_u8().await.map_err(|e| format!("server: {e}"))?;
        stream
            .write_u8(byte)
            .await
            .map_err(|e| format!("server: {e}"))?;
        stream.flush().await.map_err(|e| format!("server: {e}"))?;
        Ok::<_, String>(session)
    };
    let connect = async {
        let (mut stream, session) = client
            .connect(near, Wishes::default())
            .await
            .map_err(|e| format!("client: {e}"))?;
        stream
            .write_u8(7)
            .await
            .map_err(|e| format!("client: {e}"))?;
        stream.flush().await.map_err(|e| format!("client: {e}"))?;
        stream.read_u8().await.map_err(|e| format!("client: {e}"))?;
        Ok::<_, String>(session)
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    match (accepted, connected) {
        (Ok(accepted), Ok(connected)) => Ok((accepted, connected)),
        (Err(accepted), Err(connected)) => Err(format!("{accepted}; {connected}")),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

#[tokio::test]
async fn mutual_tls_tells_each_end_who_the_other_is() {
    let authority = authority("mesh");
    let store = mesh(&authority);
    let server = ServerContext::new(&downstream(), store.clone()).unwrap();
    let client = ClientContext::new(&upstream(), store).unwrap();
    let (accepted, connected) = talk(&server, &client).await.unwrap();
    assert_eq!(accepted.version, "TLSv1.3");
    assert!(
        accepted.cipher.starts_with("TLS_AES_"),
        "{}",
        accepted.cipher
    );
    assert_eq!(accepted.alpn.as_deref(), Some("h2"));
    assert!(accepted.verified && connected.verified);
    assert_eq!(accepted.peer.as_ref().unwrap().uri_sans, [WEB]);
    assert_eq!(accepted.local.as_ref().unwrap().uri_sans, [CATALOG]);
    assert_eq!(connected.peer.as_ref().unwrap().uri_sans, [CATALOG]);
    assert_eq!(
        accepted.peer.unwrap().issuer,
        "O=mesh,CN=rcgen self signed cert"
    );
    assert_eq!(accepted.peer_chain.len(), 1);
    assert!(!accepted.resumed);
    let (accepted, _) = talk(&server, &client).await.unwrap();
    assert!(accepted.resumed && accepted.verified);
    assert_eq!(accepted.peer.unwrap().uri_sans, [WEB]);
}

#[tokio::test]
async fn what_is_wrong_fails_the_handshake() {
    let ours = authority("mesh");
    let theirs = authority("other");
    let expired = issue(&ours, |params| {
        params.subject_alt_names = vec![SanType::URI(CATALOG.try_into().unwrap())];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
    });
    let server_only = issue(&ours, |params| {
        params.subject_alt_names = vec![SanType::URI(WEB.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    type Change<'a> = &'a dyn Fn(&SecretStore, &mut DownstreamTls, &mut UpstreamTls);
    let cases: [(&str, Change<'_>, &str); 10] = [
        ("nothing wrong", &|_, _, _| {}, ""),
        (
            "wrong server name",
            &|_, _, up| {
                up.validation_defaults = names(uri("spiffe://cluster.local/ns/default/sa/forum"))
            },
            "SAN matcher",
        ),
        (
            "the DNS name has no say",
            &|_, _, up| up.sni = "elsewhere.example".to_owned(),
            "",
        ),
        (
            "wrong server root",
            &|store, _, _| store.set("client-roots", Secret::Validation(trust(&theirs))),
            "unable to get local issuer certificate",
        ),
        (
            "wrong client root",
            &|store, _, _| store.set("server-roots", Secret::Validation(trust(&theirs))),
            "UnknownIssuer",
        ),
        (
            "expired server certificate",
            &|store, _, _| store.set("server", Secret::Certificate(expired.clone())),
            "certificate has expired",
        ),
        (
            "client certificate missing",
            &|_, _, up| up.certificates.clear(),
            "peer sent no certificates",
        ),
        (
            "client certificate optional",
            &|_, down, up| {
                up.certificates.clear();
                down.require_client_certificate = false;
            },
            "",
        ),
        (
            "client certificate not for clients",
            &|store, _, _| store.set("client", Secret::Certificate(server_only.clone())),
            "certificate",
        ),
        (
            "wrong client name",
            &|_, down, _| down.validation_defaults = names(uri(CATALOG)),
            "SAN matcher",
        ),
    ];
    for (name, change, fault) in cases {
        let store = mesh(&ours);
        let (mut down, mut up) = (downstream(), upstream());
        change(&store, &mut down, &mut up);
        let server = ServerContext::new(&down, store.clone()).unwrap();
        let client = ClientContext::new(&up, store).unwrap();
        match talk(&server, &client).await {
            Ok(_) => assert_eq!(fault, "", "{name} went well"),
            Err(error) => {
                assert!(!fault.is_empty(), "{name}: {error}");
                assert!(error.contains(fault), "{name}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_rotated_secret_serves_new_handshakes_only() {
    let first = authority("first");
    let second = authority("second");
    let store = mesh(&first);
    let server = ServerContext::new(&downstream(), store.clone()).unwrap();
    let client = ClientContext::new(&upstream(), store.clone()).unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (accepted, connected) =
        tokio::join!(server.accept(far), client.connect(near, Wishes::default()));
    let ((mut accepted, _), (mut connected, _)) = (accepted.unwrap(), connected.unwrap());
    let before = (server.config().unwrap(), client.config().unwrap());
    assert!(Arc::ptr_eq(&before.0, &server.config().unwrap()));

    store.set("unrelated", Secret::Validation(trust(&second)));
    assert!(Arc::ptr_eq(&before.0, &server.config().unwrap()));
    assert!(Arc::ptr_eq(&before.1, &client.config().unwrap()));

    for (name, secret) in [
        ("server", Secret::Certificate(spiffe(&second, CATALOG))),
        ("client", Secret::Certificate(spiffe(&second, WEB))),
        ("server-roots", Secret::Validation(trust(&second))),
        ("client-roots", Secret::Validation(trust(&second))),
    ] {
        store.set(name, secret);
    }
    assert!(!Arc::ptr_eq(&before.0, &server.config().unwrap()));
    let (session, _) = talk(&server, &client).await.unwrap();
    assert_eq!(
        session.peer.unwrap().issuer,
        "O=second,CN=rcgen self signed cert"
    );
    assert!(!session.resumed, "a session outlived its trust");

    connected.write_u8(9).await.unwrap();
    connected.flush().await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), 9);
}

#[tokio::test]
async fn a_missing_secret_fails_closed() {
    let authority = authority("mesh");
    let store = mesh(&authority);
    let server = ServerContext::new(&downstream(), store.clone()).unwrap();
    let client = ClientContext::new(&upstream(), store.clone()).unwrap();
    store.remove("client-roots");
    assert!(client.config().is_none());
    assert_eq!(
        client.problem(),
        Some(TlsError::Missing("client-roots".to_owned()))
    );
    store.remove("server");
    assert!(server.config().is_none());
    let error = talk(&server, &client).await.unwrap_err();
    assert!(error.contains("has not been delivered"), "{error}");
    store.set("server", Secret::Validation(trust(&authority)));
    assert!(server.config().is_none(), "a secret of the wrong kind");
    let nonsense = Secret::Certificate(TlsCertificate {
        chain_pem: b"nonsense".to_vec(),
        key_pem: Vec::new(),
    });
    store.set("server", nonsense.clone());
    assert!(server.config().is_none(), "no certificate");
    store.set("server", Secret::Certificate(spiffe(&authority, CATALOG)));
    let good = server.config().unwrap();
    store.set("server", nonsense);
    assert!(
        Arc::ptr_eq(&good, &server.config().unwrap()),
        "what is of no use takes the place of nothing"
    );
    store.remove("server");
    assert!(server.config().is_none(), "what is gone is gone");
}

#[test]
fn the_store_knows_what_is_wanted() {
    let store = SecretStore::new();
    let mut changes = store.watch();
    let server = ServerContext::new(&downstream(), store.clone()).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let expected: Vec<_> = ["server", "server-roots"]
        .map(|name| WantedSecret {
            name: name.to_owned(),
            source: CertificateSource::Discovered(ConfigSource::default()),
        })
        .into();
    assert_eq!(store.wanted(), expected);
    assert!(server.config().is_none());
    drop(server);
    assert!(store.wanted().is_empty());
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn application_protocols_that_are_not_ours_are_ignored() {
    let authority = authority("mesh");
    for (offered, agreed) in [
        (vec![b"istio-peer-exchange".to_vec()], None),
        (
            vec![b"istio".to_vec(), b"http/1.1".to_vec()],
            Some("http/1.1"),
        ),
        (vec![], None),
    ] {
        let store = mesh(&authority);
        let server = ServerContext::new(&downstream(), store.clone()).unwrap();
        let mut settings = upstream();
        settings.alpn = offered;
        let client = ClientContext::new(&settings, store).unwrap();
        let (accepted, connected) = talk(&server, &client).await.unwrap();
        assert_eq!(accepted.alpn.as_deref(), agreed);
        assert_eq!(connected.alpn.as_deref(), agreed);
    }
}

#[tokio::test]
async fn cipher_suites_are_an_allow_list() {
    let istio = [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "AES256-GCM-SHA384",
    ];
    let list = |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    let authority = authority("mesh");
    let store = mesh(&authority);
    let mut settings = downstream();
    settings.max_version = TlsVersion::V1_2;
    settings.cipher_suites = list(&istio);
    let server = ServerContext::new(&settings, store.clone()).unwrap();
    let client = ClientContext::new(&upstream(), store.clone()).unwrap();
    let (accepted, _) = talk(&server, &client).await.unwrap();
    assert_eq!(accepted.version, "TLSv1.2");
    assert_eq!(accepted.cipher, "ECDHE-ECDSA-AES256-GCM-SHA384");

    settings.cipher_suites = list(&["[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-FOO]"]);
    assert_eq!(
        ServerContext::new(&settings, store.clone()).err(),
        Some(TlsError::UnknownCipherSuite("ECDHE-FOO".to_owned()))
    );
    settings.cipher_suites = list(&["AES256-SHA", "AES128-SHA"]);
    assert_eq!(
        ServerContext::new(&settings, store.clone()).err(),
        Some(TlsError::NoCipherSuite("AES256-SHA:AES128-SHA".to_owned()))
    );
    settings.cipher_suites = list(&["TLS_AES_128_GCM_SHA256"]);
    settings.max_version = TlsVersion::V1_3;
    let server = ServerContext::new(&settings, store.clone()).unwrap();
    let (accepted, _) = talk(&server, &client).await.unwrap();
    assert_eq!(accepted.cipher, "TLS_AES_128_GCM_SHA256");
    settings.min_version = TlsVersion::V1_3;
    settings.max_version = TlsVersion::V1_2;
    assert_eq!(
        ServerContext::new(&settings, store).err(),
        Some(TlsError::Versions)
    );
}

#[test]
fn names_match_by_their_kind() {
    let authority = authority("mesh");
    let pem = issue(&authority, |params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, "A, B");
        params.distinguished_name.push(DnType::CommonName, "c+d");
        params.subject_alt_names = vec![
            SanType::URI(WEB.try_into().unwrap()),
            SanType::DnsName("*.example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
    });
    let der = {
        use rustls_pki_types::pem::PemObject as _;
        rustls_pki_types::CertificateDer::from_pem_slice(&pem.chain_pem).unwrap()
    };
    let info = CertificateInfo::read(&der).unwrap();
    assert_eq!(info.subject, "CN=c\\+d,O=A\\, B");
    assert_eq!(info.sha256.len(), 64);
    let prefix = |text: &str| StringMatch::Prefix {
        text: text.to_owned(),
        ignore_case: false,
    };
    for (matcher, accepted) in [
        (SanMatch::Uri(StringMatch::exact(WEB)), true),
        (SanMatch::Dns(StringMatch::exact(WEB)), false),
        (SanMatch::Any(StringMatch::exact(WEB)), true),
        (SanMatch::Uri(prefix("spiffe://cluster.local/")), true),
        (SanMatch::Dns(StringMatch::exact("a.example.com")), true),
        (SanMatch::Dns(StringMatch::exact("a.b.example.com")), false),
        (SanMatch::Dns(StringMatch::exact("example.com")), false),
        (SanMatch::Any(StringMatch::exact("10.0.0.1")), true),
        (SanMatch::Uri(StringMatch::exact("10.0.0.1")), false),
    ] {
        let matchers = [matcher];
        assert_eq!(
            crate::san::accepts(&matchers, &info),
            accepted,
            "{matchers:?}"
        );
    }
    assert!(crate::san::accepts(&[], &info));
}
