//! Heads, bodies and trailers, both ways, in parallel and slowly.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Response};
use tokio::task::spawn_local;

use crate::fixture::{
    body, client_config, connect, echo, head, other_client, other_receive_all, other_send_all,
    other_server, receive_all, request, run, send_all, serve, server_config, settle, trailers,
    wire,
};

const SIZES: [usize; 6] = [0, 1, 16 << 10, (16 << 10) + 1, 100_000, 1 << 20];

/// Answers everything with what it asks.
fn other_echo(mut requests: tokio::sync::mpsc::UnboundedReceiver<crate::fixture::OtherExchange>) {
    spawn_local(async move {
        while let Some((request, mut reply)) = requests.recv().await {
            spawn_local(async move {
                let (head, mut receive) = request.into_parts();
                let mut response = Response::new(());
                *response.headers_mut() = head.headers;
                let ends = receive.is_end_stream();
                let mut send = reply.send_response(response, ends).unwrap();
                if ends {
                    return;
                }
                let (body, trailers) = other_receive_all(&mut receive).await.unwrap();
                other_send_all(&mut send, &body, trailers).await;
            });
        }
    });
}

#[test]
fn a_server_takes_and_gives_bodies_of_all_sizes() {
    for (window, with_trailers) in [(65_535, false), (1000, true), (4 << 20, true)] {
        run(async move {
            let (near, far) = wire();
            let mut config = server_config();
            config.stream_window = window;
            let served = serve(far, &config, echo);
            let builder = h2::client::Builder::new();
            let (mut client, end) = other_client(near, &builder).await;
            for size in SIZES {
                let sent = body(size);
                let request = request(Method::POST, "/");
                let (response, mut send) = client.send_request(request, false).unwrap();
                let upload = sent.clone();
                spawn_local(async move {
                    let last = with_trailers.then(trailers);
                    other_send_all(&mut send, &upload, last).await;
                });
                let (parts, mut receive) = response.await.unwrap().into_parts();
                assert_eq!(parts.status, 200);
                assert_eq!(parts.headers["some"], "thing");
                let (got, last) = other_receive_all(&mut receive).await.unwrap();
                assert!(got == sent, "{size} bytes");
                assert_eq!(last, with_trailers.then(trailers));
            }
            drop(client);
            end.await.unwrap().unwrap();
            served.end.await.unwrap().unwrap();
        });
    }
}

#[test]
fn a_client_gives_and_takes_bodies_of_all_sizes() {
    for (window, with_trailers) in [(65_535, false), (1000, true), (4 << 20, true)] {
        run(async move {
            let (near, far) = wire();
            let (requests, _orders) = other_server(far, h2::server::Builder::new());
            other_echo(requests);
            let mut config = client_config();
            config.stream_window = window;
            let mut client = connect(near, &config);
            for size in SIZES {
                let sent = body(size);
                let request = request(Method::POST, "/");
                let (mut response, mut send) = client.sender.send_request(&request, false).unwrap();
                let upload = sent.clone();
                spawn_local(async move {
                    send_all(&mut send, &upload, with_trailers.then(trailers)).await;
                });
                let (parts, mut receive) = head(&mut response).await.unwrap();
                assert_eq!(parts.status, 200);
                assert_eq!(parts.headers["some"], "thing");
                let (got, last) = receive_all(&mut receive).await.unwrap();
                assert!(got == sent, "{size} bytes");
                assert_eq!(last, with_trailers.then(trailers));
            }
            drop(client.sender);
            client.end.await.unwrap().unwrap();
        });
    }
}

#[test]
fn heads_without_bodies_end_at_once() {
    run(async {
        let (near, far) = wire();
        let _served = serve(far, &server_config(), echo);
        let mut client = connect(near, &client_config());
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let (mut response, _send) = client
                .sender
                .send_request(&request(method, "/a?b=c"), true)
                .unwrap();
            let (parts, receive) = head(&mut response).await.unwrap();
            assert_eq!(parts.status, 200);
            assert!(receive.is_end_stream());
        }
    });
}

#[test]
fn a_server_has_many_streams_at_a_time() {
    run(async {
        let (near, far) = wire();
        let _served = serve(far, &server_config(), echo);
        // it goes away when it gets many empty frames that end nothing
        let (client, _end) = other_client(near, &h2::client::Builder::new()).await;
        let mut all = Vec::new();
        for index in 0..200 {
            let mut client = client.clone();
            all.push(spawn_local(async move {
                let sent = body(index * 100);
                let request = request(Method::POST, "/");
                let (response, mut send) = client.send_request(request, false).unwrap();
                other_send_all(&mut send, &sent, None).await;
                let mut receive = response.await.unwrap().into_body();
                let (got, _) = other_receive_all(&mut receive).await.unwrap();
                assert!(got == sent, "stream {index}");
            }));
        }
        for task in all {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_client_has_many_streams_at_a_time() {
    run(async {
        let (near, far) = wire();
        let (requests, _orders) = other_server(far, h2::server::Builder::new());
        other_echo(requests);
        let mut client = connect(near, &client_config());
        let mut all = Vec::new();
        for index in 0..100 {
            let request = request(Method::POST, "/");
            let (mut response, mut send) = client.sender.send_request(&request, false).unwrap();
            all.push(spawn_local(async move {
                let sent = body(index * 300);
                send_all(&mut send, &sent, None).await;
                let (_, mut receive) = head(&mut response).await.unwrap();
                let (got, _) = receive_all(&mut receive).await.unwrap();
                assert!(got == sent, "stream {index}");
            }));
        }
        for task in all {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_server_waits_for_a_slow_reader() {
    run(async {
        let (near, far) = wire();
        let given = Rc::new(Cell::new(0));
        let counter = given.clone();
        let _served = serve(far, &server_config(), move |_, mut reply| {
            let given = counter.clone();
            async move {
                let mut send = reply.send_response(Response::new(()), false).unwrap();
                for piece in body(300_000).chunks(5000) {
                    poll_fn(|cx| send.poll_room(cx)).await.unwrap();
                    send.send_data(Bytes::copy_from_slice(piece), false)
                        .unwrap();
                    given.set(given.get() + piece.len());
                }
                send.send_data(Bytes::new(), true).unwrap();
            }
        });
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(20_000);
        let (mut client, _end) = other_client(near, &builder).await;
        let request = request(Method::GET, "/");
        let (response, _) = client.send_request(request, true).unwrap();
        let mut receive = response.await.unwrap().into_body();
        settle().await;
        assert!((20_000..=25_000).contains(&given.get()), "{given:?}");
        let (got, _) = other_receive_all(&mut receive).await.unwrap();
        assert!(got == body(300_000));
    });
}

#[test]
fn a_client_waits_for_a_slow_reader() {
    run(async {
        let (near, far) = wire();
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(20_000);
        let (mut requests, _orders) = other_server(far, builder);
        let mut client = connect(near, &client_config());
        settle().await;
        let (_response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        let given = Rc::new(Cell::new(0));
        let counter = given.clone();
        spawn_local(async move {
            for piece in body(300_000).chunks(5000) {
                poll_fn(|cx| send.poll_room(cx)).await.unwrap();
                send.send_data(Bytes::copy_from_slice(piece), false)
                    .unwrap();
                counter.set(counter.get() + piece.len());
            }
            send.send_data(Bytes::new(), true).unwrap();
        });
        let (request, _reply) = requests.recv().await.unwrap();
        settle().await;
        assert!((20_000..=25_000).contains(&given.get()), "{given:?}");
        let (got, _) = other_receive_all(&mut request.into_body()).await.unwrap();
        assert!(got == body(300_000));
    });
}

#[test]
fn who_does_not_read_is_sent_a_window_at_most() {
    run(async {
        let (near, far) = wire();
        let mut config = server_config();
        config.stream_window = 30_000;
        let _served = serve(far, &config, async |request, mut reply| {
            let mut receive = request.into_body();
            settle().await;
            settle().await;
            let (got, _) = receive_all(&mut receive).await.unwrap();
            assert!(got == body(200_000));
            reply.send_response(Response::new(()), true).unwrap();
        });
        let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
        let request = request(Method::POST, "/");
        let (response, mut send) = client.send_request(request, false).unwrap();
        let sent = Rc::new(Cell::new(false));
        let all = sent.clone();
        spawn_local(async move {
            other_send_all(&mut send, &body(200_000), None).await;
            all.set(true);
        });
        settle().await;
        assert!(!sent.get());
        assert_eq!(response.await.unwrap().status(), 200);
        assert!(sent.get());
    });
}
