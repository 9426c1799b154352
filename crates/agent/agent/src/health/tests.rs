//! Probes of applications on loopback, and what is told of them in virtual time.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A server that answers each connection's request with this, and what it was asked.
async fn server(answer: &'static str) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            *heard.lock().expect("not poisoned") = text;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, asked)
}

fn http(port: u16, headers: &[(&str, &str)]) -> ProbeMethod {
    let headers = headers.iter().copied();
    ProbeMethod::Http {
        path: "/health?deep=1".to_owned(),
        port,
        host: Some("127.0.0.1".to_owned()),
        tls: false,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

#[tokio::test]
async fn http_goes_by_the_status() {
    for (answer, healthy) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(())),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\n\r\n", Ok(())),
        (
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            Err("status 503".to_owned()),
        ),
    ] {
        let (port, asked) = server(answer).await;
        assert_eq!(check(&http(port, &[]), None, LIMIT).await, healthy);
        let asked = asked.lock().expect("not poisoned").clone();
        assert!(asked.starts_with("GET /health?deep=1 HTTP/1.1\r\n"));
        assert!(asked.contains(&format!("host: 127.0.0.1:{port}\r\n")));
        assert!(asked.contains("user-agent: meltemi-probe/1\r\n"));
    }
    let (port, asked) = server("HTTP/1.1 204 OK\r\n\r\n").await;
    let own = http(port, &[("Host", "shop.example"), ("x-who", "me")]);
    assert_eq!(check(&own, None, LIMIT).await, Ok(()));
    let asked = asked.lock().expect("not poisoned").clone();
    assert!(asked.contains("host: shop.example\r\n"), "{asked}");
    assert!(asked.contains("x-who: me\r\n"), "{asked}");
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp_and_none_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let probe = ProbeMethod::Tcp { host: None, port };
    let application = Some(IpAddr::from([127, 0, 0, 1]));
    assert_eq!(check(&probe, application, LIMIT).await, Ok(()));

    // Bound and never listening: a listener that was closed lives on for a moment in a process that
    // another test is starting.
    let mute = TcpSocket::new_v4().expect("a socket");
    mute.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let probe = ProbeMethod::Tcp { host: None, port };
    let refused = check(&probe, application, LIMIT).await;
    let refused = refused.expect_err("nobody listens");
    assert!(refused.contains(&format!("127.0.0.1:{port}")), "{refused}");
}

#[tokio::test]
async fn a_command_says_it_by_its_end() {
    let exec = |script: &str| {
        let words = ["sh", "-c", script].map(str::to_owned);
        ProbeMethod::Exec(words.to_vec())
    };
    assert_eq!(check(&exec("exit 0"), None, LIMIT).await, Ok(()));
    let failed = check(&exec("exit 3"), None, LIMIT).await;
    assert!(failed.expect_err("it failed").contains('3'));
    let short = Duration::from_millis(50);
    let late = check(&exec("sleep 30"), None, short).await;
    assert!(late.expect_err("it is late").contains("within 50ms"));
    let absent = ProbeMethod::Exec(vec!["/no/such/program".to_owned()]);
    assert!(check(&absent, None, LIMIT).await.is_err());
}

/// A gRPC server whose health is this number.
async fn grpc_server(status: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(move |request: http::Request<_>| async move {
                let _: &hyper::body::Incoming = request.body();
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let mut body = vec![0, 0, 0, 0, u8::try_from(status.len()).expect("short")];
                body.extend(status);
                let data = http_body_util::Full::new(hyper::body::Bytes::from(body));
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                let body = http_body_util::BodyExt::with_trailers(data, async {
                    Some(Ok::<_, Infallible>(trailers))
                });
                let response = http::Response::builder().header("content-type", "application/grpc");
                response.body(body)
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let stream = hyper_util::rt::TokioIo::new(stream);
            let server = hyper::server::conn::http2::Builder::new(executor);
            tokio::spawn(server.serve_connection(stream, service));
        }
    });
    port
}

#[tokio::test]
async fn grpc_has_to_be_serving() {
    for (status, healthy) in [
        (&[8, 1][..], Ok(())),
        (&[8, 2][..], Err("serving status 2".to_owned())),
        (&[][..], Err("serving status 0".to_owned())),
    ] {
        let port = grpc_server(status).await;
        let service = Some("shop.Ratings".to_owned());
        let probe = ProbeMethod::Grpc { port, service };
        let application = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(check(&probe, application, LIMIT).await, healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_at_their_time() {
    let probe = Probe {
        initial_delay: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(10),
        success_threshold: 2,
        failure_threshold: 3,
        method: ProbeMethod::Exec(Vec::new()),
    };
    let (found, mut states) = watch::channel(None);
    let mut script = "++-+---++".chars();
    let outcomes = move || {
        let next = match script.next() {
            Some('-') => Err("it fails".to_owned()),
            Some(_) | None => Ok(()),
        };
        std::future::ready(next)
    };
    let start = Instant::now();
    tokio::spawn(watch_application(probe, found, outcomes));
    for (second, health) in [(15, Ok(())), (65, Err("it fails".to_owned())), (85, Ok(()))] {
        states.changed().await.expect("it goes on");
        assert_eq!(start.elapsed().as_secs(), second);
        assert_eq!(*states.borrow_and_update(), Some(health));
    }
}
