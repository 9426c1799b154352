use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{
    Address, AlpnOverride, BindConfig, CertificateSource, ConfigSource, Discovery, DownstreamTls,
    Metadata, PassedEntries, Priority, ProxyHeader, SanMatch, SecretRef, StringMatch,
    TlsCertificate, TransportSocketMatch, UpstreamProtocol, UpstreamTls, ValidationContext, Value,
};
use meltemi_tls::{SecretStore, ServerContext};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{
    Fixture, NAME, assignment, config, endpoint, get, listen, of, on_worker, read_request, server,
    text, to, until,
};
use crate::{Breaker, ConnectFailure, HttpOptions, HttpVersion, Proxied};

const ID: &str = "spiffe://cluster.local/ns/default/sa/web";

/// A certificate for [`ID`] and what trusts it.
fn identity() -> (TlsCertificate, ValidationContext) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (
        TlsCertificate {
            chain_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
        },
        ValidationContext {
            trusted_ca_pem: issuer.pem().into_bytes(),
            ..ValidationContext::default()
        },
    )
}

fn upstream_tls(id: &str) -> UpstreamTls {
    UpstreamTls {
        validation: Some(SecretRef::Sds {
            name: "ROOTCA".to_owned(),
            source: CertificateSource::Discovered(ConfigSource::default()),
        }),
        validation_defaults: ValidationContext {
            san_matchers: vec![SanMatch::Uri(StringMatch::exact(id))],
            ..ValidationContext::default()
        },
        sni: "web.example".to_owned(),
        ..UpstreamTls::default()
    }
}

/// Answers one request on each TLS connection with the protocol agreed on.
async fn tls_server(certificate: TlsCertificate, alpn: &[&str]) -> SocketAddr {
    let settings = DownstreamTls {
        certificates: vec![SecretRef::Inline(certificate)],
        alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ..DownstreamTls::default()
    };
    let context = ServerContext::new(&settings, SecretStore::new()).unwrap();
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let context = Arc::clone(&context);
            tokio::task::spawn_local(async move {
                let Ok((mut stream, session)) = context.accept(stream).await else {
                    return;
                };
                let alpn = session.alpn;
                if alpn.as_deref() == Some("h2") {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut reply))) = connection.accept().await {
                        let mut body = reply.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(bytes::Bytes::from_static(b"h2"), true)
                            .unwrap();
                    }
                    return;
                }
                while read_request(&mut stream).await.is_some() {
                    let name = alpn.clone().unwrap_or_default();
                    let length = name.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{name}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    address
}

#[test]
fn the_version_is_what_the_handshake_agrees_on() {
    on_worker(|| async {
        let (certificate, trust) = identity();
        for (protocol, offered, version, answer) in [
            (
                UpstreamProtocol::Alpn,
                &["h2", "http/1.1"][..],
                HttpVersion::Http2,
                "h2",
            ),
            (
                UpstreamProtocol::Alpn,
                &["http/1.1"],
                HttpVersion::Http1,
                "http/1.1",
            ),
            (UpstreamProtocol::Alpn, &[], HttpVersion::Http1, ""),
            (
                UpstreamProtocol::Http1,
                &["h2", "http/1.1"],
                HttpVersion::Http1,
                "http/1.1",
            ),
            (
                UpstreamProtocol::Http2,
                &["h2", "http/1.1"],
                HttpVersion::Http2,
                "h2",
            ),
        ] {
            let mut settings = to(&[tls_server(certificate.clone(), offered).await]);
            settings.http.protocol = protocol;
            settings.tls = Some(Box::new(upstream_tls(ID)));
            let fixture = Fixture::with(settings);
            fixture.trust(trust.clone());
            let leases = tokio::join!(fixture.lease(), fixture.lease());
            drop(leases.0.unwrap());
            let lease = leases.1.unwrap();
            assert_eq!(lease.version(), version);
            let session = lease.details().tls.clone().unwrap();
            assert!(session.verified);
            assert_eq!(session.peer_uri_sans, [ID]);
            let response = lease.send(get("/")).await.unwrap();
            assert_eq!(text(response.into_body()).await, answer);
            let cluster = fixture.cluster();
            let made = cluster.stats().upstream_cx_total.get();
            assert_eq!(made, if version == HttpVersion::Http2 { 1 } else { 2 });
            assert_eq!(cluster.stats().ssl.get().handshake.get(), made);
        }
    });
}

#[test]
fn a_tls_connection_says_that_it_is_closed() {
    on_worker(|| async {
        let (certificate, trust) = identity();
        let server = DownstreamTls {
            certificates: vec![SecretRef::Inline(certificate)],
            ..DownstreamTls::default()
        };
        let context = ServerContext::new(&server, SecretStore::new()).unwrap();
        let (listener, address) = listen().await;
        let mut settings = to(&[address]);
        settings.tls = Some(Box::new(upstream_tls(ID)));
        settings.max_requests_per_connection = 1;
        let fixture = Fixture::with(settings);
        fixture.trust(trust);
        let (response, ()) = tokio::join!(fixture.get(), async {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut stream, _) = context.accept(stream).await.unwrap();
            read_request(&mut stream).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            // Without a word it would be an error.
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        });
        assert_eq!(response, "x");
    });
}

#[test]
fn a_request_may_bring_its_own_alpn() {
    on_worker(|| async {
        let (certificate, trust) = identity();
        let address = tls_server(certificate, &["istio-http/1.1", "istio"]).await;
        let mut settings = to(&[address]);
        settings.tls = Some(Box::new(UpstreamTls {
            alpn: vec![b"istio".to_vec()],
            ..upstream_tls(ID)
        }));
        let fixture = Fixture::with(settings);
        fixture.trust(trust);
        let overrides = AlpnOverride {
            http1: Some(Arc::from([b"istio-http/1.1".to_vec()])),
            http2: None,
        };
        let (cluster, host) = (fixture.cluster(), fixture.host());
        for (alpn, answer) in [
            (None, "istio"),
            (Some(&overrides), "istio-http/1.1"),
            (None, "istio"),
            (Some(&overrides), "istio-http/1.1"),
        ] {
            let options = HttpOptions {
                alpn,
                ..of(Priority::Default)
            };
            let lease = cluster.http(&host, options).await.unwrap();
            let response = lease.send(get("/")).await.unwrap();
            assert_eq!(text(response.into_body()).await, answer);
        }
        assert_eq!(cluster.stats().upstream_cx_total.get(), 2);
    });
}

#[test]
fn a_peer_that_is_not_who_it_should_be_gets_no_request() {
    on_worker(|| async {
        let (certificate, trust) = identity();
        let mut settings = to(&[tls_server(certificate, &[]).await]);
        settings.tls = Some(Box::new(upstream_tls(
            "spiffe://cluster.local/ns/default/sa/other",
        )));
        let fixture = Fixture::with(settings);
        // Whom to trust has not been said: nobody is connected to.
        assert!(fixture.pools.cluster(NAME).is_none());
        assert_eq!(fixture.manager.warming().len(), 1);
        fixture.trust(trust);
        let failure = fixture.lease().await.unwrap_err();
        let reason = failure.transport_failure_reason();
        assert!(matches!(failure, ConnectFailure::Tls(_)), "{failure:?}");
        assert!(reason.starts_with("TLS_error:|"), "{reason}");
        let cluster = fixture.cluster();
        let ssl = cluster.stats().ssl.get();
        assert_eq!(
            (ssl.connection_error.get(), ssl.fail_verify_san.get()),
            (0, 1)
        );
    });
}

#[test]
fn metadata_decides_between_tls_and_plaintext() {
    on_worker(|| async {
        let (certificate, trust) = identity();
        let tls_mode =
            |mode: &str| BTreeMap::from([("tlsMode".to_owned(), Value::String(mode.to_owned()))]);
        let mut secure = endpoint(tls_server(certificate, &[]).await);
        secure.metadata = Metadata(BTreeMap::from([(
            "envoy.transport_socket_match".to_owned(),
            tls_mode("istio"),
        )]));
        let plain = endpoint(server().await);
        let mut settings = config(Discovery::Static(assignment(NAME, vec![secure, plain])));
        settings.transport_socket_matches = vec![
            TransportSocketMatch {
                name: "tlsMode-istio".to_owned(),
                matches: tls_mode("istio"),
                tls: Some(upstream_tls(ID)),
                proxy_header: None,
            },
            TransportSocketMatch {
                name: "tlsMode-disabled".to_owned(),
                matches: BTreeMap::new(),
                tls: None,
                proxy_header: None,
            },
        ];
        let fixture = Fixture::with(settings);
        fixture.trust(trust);
        let mut modes = Vec::new();
        for _ in 0..2 {
            let lease = fixture.lease().await.unwrap();
            modes.push(lease.details().tls.is_some());
            assert_eq!(lease.send(get("/")).await.unwrap().status(), 200);
        }
        modes.sort_unstable();
        assert_eq!(modes, [false, true]);
    });
}

#[test]
fn unix_sockets_and_bind_addresses() {
    on_worker(|| async {
        let directory = std::env::temp_dir().join(format!("meltemi-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("upstream.sock");
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        });
        let mut by_path = endpoint("127.0.0.1:1".parse().unwrap());
        by_path.address = Address::Pipe(path.clone());
        let fixture = Fixture::with(config(Discovery::Static(assignment(NAME, vec![by_path]))));
        assert_eq!(fixture.get().await, "hi");
        std::fs::remove_dir_all(&directory).unwrap();
        let failure = {
            let mut gone = endpoint("127.0.0.1:1".parse().unwrap());
            gone.address = Address::Pipe(path);
            let fixture = Fixture::with(config(Discovery::Static(assignment(NAME, vec![gone]))));
            fixture.lease().await.unwrap_err()
        };
        assert_eq!(
            failure.transport_failure_reason(),
            "immediate connect error: No such file or directory"
        );

        let mut settings = to(&[server().await]);
        settings.bind = Some(BindConfig {
            sources: vec![
                ("[::1]:0".parse().unwrap(), None),
                ("127.0.0.9:0".parse().unwrap(), None),
            ],
            ..BindConfig::default()
        });
        settings.tcp_keepalive = Some(meltemi_ir::TcpKeepalive {
            probes: Some(3),
            time: Some(Duration::from_secs(10)),
            interval: Some(Duration::from_secs(1)),
        });
        let fixture = Fixture::with(settings);
        let local = fixture.lease().await.unwrap().local_address().unwrap();
        assert_eq!(local.ip().to_string(), "127.0.0.9");
    });
}

#[test]
fn a_tcp_connection_counts_while_it_lives() {
    on_worker(|| async {
        let (listener, address) = listen().await;
        let mut settings = to(&[address]);
        settings.circuit_breakers.default.max_connections = 1;
        let fixture = Fixture::with(settings);
        let (cluster, host) = (fixture.cluster(), fixture.host());
        let mut stream = cluster.tcp(&host, &proxied()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        assert_eq!(host.active_requests(), 1);
        let overflow = cluster.tcp(&host, &proxied()).await.unwrap_err();
        assert_eq!(overflow, ConnectFailure::Overflow(Breaker::Connections));
        stream.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.unwrap();
        drop(far);
        assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
        drop(stream);
        let stats = cluster.stats();
        assert_eq!(host.active_requests(), 0);
        assert_eq!(stats.upstream_cx_active.get(), 0);
        assert_eq!(stats.upstream_cx_destroy_remote.get(), 1);
        assert_eq!(stats.upstream_cx_tx_bytes_total.get(), 4);
    });
}

#[test]
fn connecting_has_a_limit() {
    on_worker(|| async {
        // A listener that accepts but never answers the handshake.
        let (listener, address) = listen().await;
        let mut settings = to(&[address]);
        settings.connect_timeout = Duration::from_millis(30);
        settings.tls = Some(Box::new(upstream_tls(ID)));
        let (_, trust) = identity();
        let fixture = Fixture::with(settings);
        fixture.trust(trust);
        assert_eq!(fixture.lease().await.unwrap_err(), ConnectFailure::Timeout);
        let cluster = fixture.cluster();
        assert_eq!(cluster.stats().upstream_cx_connect_timeout.get(), 1);
        until(|| cluster.stats().upstream_cx_active.get() == 0).await;
        drop(listener);
    });
}

/// A connection that is proxied.
fn proxied() -> Proxied {
    Proxied {
        source: ([192, 0, 2, 1], 1000).into(),
        destination: ([192, 0, 2, 2], 80).into(),
        entries: Arc::from([(7, b"seven".to_vec()), (8, b"eight".to_vec())]),
    }
}

#[test]
fn upstreams_are_told_whom_a_connection_stands_for() {
    let mut header = ProxyHeader::default();
    let tell = |header: &ProxyHeader, proxied| {
        let own = (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        crate::transport::header(header, proxied, Some(own))
    };
    let client = proxied();
    let (line, _) = tell(&header, Some(&client));
    assert_eq!(line, b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n");
    let (line, _) = tell(&header, None);
    assert_eq!(line, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n");

    header.is_v2 = true;
    header.added = vec![(8, b"other".to_vec())];
    header.passed = PassedEntries::All;
    let entries = |bytes: &[u8]| match meltemi_net::inspect_proxy(bytes) {
        Ok(meltemi_net::Inspection::Is(header)) => header.entries,
        other => panic!("{other:?}"),
    };
    let (block, left_out) = tell(&header, Some(&client));
    assert!(!left_out);
    let expected = [(8, b"other".to_vec()), (7, b"seven".to_vec())];
    assert_eq!(entries(&block), expected);
    header.passed = PassedEntries::Of(vec![8]);
    assert_eq!(entries(&tell(&header, Some(&client)).0), expected[..1]);
    header.added = vec![(8, vec![0; 60_000]), (9, vec![0; 60_000])];
    let (block, left_out) = tell(&header, Some(&client));
    assert!(left_out);
    assert_eq!(entries(&block), []);
    assert_eq!(tell(&header, None).0.len(), 16);
}
