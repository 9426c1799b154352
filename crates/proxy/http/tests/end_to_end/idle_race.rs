//! Upstreams that close idle connections at the very moment when a request comes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meltemi_testkit::{RawClient, Request};

use crate::fixture::{Proxy, everything, hcm, on_worker};

/// How long the upstream keeps a connection that nothing comes on.
const KEEP_ALIVE: Duration = Duration::from_millis(200);

/// A thread for each connection, so that it closes when it wants and not when the proxy lets it,
/// and only where the system has nothing for it: a server that closes over a request that it has
/// not read sends a reset, as does one that has begun with it, and nobody can tell them apart.
/// Counts the connections that it closed.
fn upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let count = closed.clone();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let count = count.clone();
            std::thread::spawn(move || serve(stream, &count));
        }
    });
    (address, closed)
}

fn serve(mut stream: TcpStream, closed: &AtomicUsize) {
    stream.set_read_timeout(Some(KEEP_ALIVE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                drop(stream);
                closed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
        // Posts bring four bytes.
        let is_post = read.starts_with(b"POST");
        let end = if is_post {
            &b"\r\n\r\nbody"[..]
        } else {
            b"\r\n\r\n"
        };
        if read.ends_with(end) {
            read.clear();
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(reply).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_request_that_meets_a_closing_connection_is_answered_all_the_same() {
    on_worker(async || {
        let (address, closed) = upstream();
        let proxy = Proxy::start(hcm(everything())).await;
        proxy.cluster("up", &[address]);
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..100_u64 {
            let proxy = proxy.address;
            clients.spawn_local(async move {
                let mut client = RawClient::connect(proxy).await.unwrap();
                for round in 0..40 {
                    // Around the time at which the upstream closes.
                    let off = (number * 7 + round * 13) % 80;
                    let pause =
                        KEEP_ALIVE - Duration::from_millis(4) + Duration::from_micros(off * 100);
                    tokio::time::sleep(pause).await;
                    let request = if number % 2 == 0 {
                        Request::get("/")
                    } else {
                        Request::post("/", "body")
                    };
                    let response = client.exchange(&request).await.unwrap();
                    assert_eq!(
                        (response.status, response.text()),
                        (200, "ok".to_owned()),
                        "client {number}, round {round}"
                    );
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        assert_eq!(proxy.stat("http.test.downstream_rq_2xx"), 4000);
        let closed = closed.load(Ordering::Relaxed);
        assert!(
            closed > 100,
            "the upstream closed only {closed} connections"
        );
    });
}
