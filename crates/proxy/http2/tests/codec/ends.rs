//! How streams and connections end: resets by either side, halves that are let go of, GOAWAY,
//! limits, PINGs.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Response};
use meltemi_http2::{Error, Reason, client};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::fixture::{
    Left, Order, body, client_config, connect, echo, head, other_client, other_receive_all,
    other_server, receive_all, request, run, send_all, serve, server_config, settle, wire,
};
use crate::frames::{ACK, HEADERS, PING, PREFACE, SETTINGS, WHOLE, WINDOW_UPDATE, frame};
use crate::hostile_client::GET;

fn left<T>() -> (Left<T>, Left<T>) {
    let left = Rc::new(RefCell::new(None));
    (left.clone(), left)
}

fn taken<T>(left: &Left<T>) -> T {
    left.borrow_mut().take().expect("the task is done")
}

fn is_remote_reset(error: &Error, reason: Reason) -> bool {
    error.reason() == Some(reason) && error.is_remote() && !error.is_go_away()
}

#[test]
fn a_server_hears_of_a_clients_reset() {
    run(async {
        let (near, far) = wire();
        let (seen, tell) = left();
        let _served = serve(far, &server_config(), move |request, mut reply| {
            let tell = tell.clone();
            async move {
                let error = poll_fn(|cx| reply.poll_reset(cx)).await;
                let received = receive_all(&mut request.into_body()).await;
                let unsent = reply.send_response(Response::new(()), false).is_err();
                *tell.borrow_mut() = Some((error, received, unsent));
            }
        });
        let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
        let (_response, mut send) = client
            .send_request(request(Method::POST, "/"), false)
            .unwrap();
        settle().await;
        send.send_reset(h2::Reason::CANCEL);
        settle().await;
        let (error, received, unsent) = taken(&seen);
        assert!(is_remote_reset(&error, Reason::CANCEL), "{error}");
        assert!(is_remote_reset(&received.unwrap_err(), Reason::CANCEL));
        assert!(unsent);
    });
}

#[test]
fn a_server_hears_of_a_reset_while_it_sends() {
    run(async {
        let (near, far) = wire();
        let (seen, tell) = left();
        let _served = serve(far, &server_config(), move |_, mut reply| {
            let tell = tell.clone();
            async move {
                let mut send = reply.send_response(Response::new(()), false).unwrap();
                let error = loop {
                    match poll_fn(|cx| send.poll_room(cx)).await {
                        Ok(()) => send
                            .send_data(Bytes::from_static(&[0; 1000]), false)
                            .unwrap(),
                        Err(error) => break error,
                    }
                };
                let again = poll_fn(|cx| send.poll_reset(cx)).await;
                *tell.borrow_mut() = Some((error, again));
            }
        });
        let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
        let (response, send) = client
            .send_request(request(Method::GET, "/"), true)
            .unwrap();
        let response = response.await.unwrap();
        drop((response, send));
        settle().await;
        let (error, again) = taken(&seen);
        assert!(is_remote_reset(&error, Reason::CANCEL), "{error}");
        assert!(is_remote_reset(&again, Reason::CANCEL), "{again}");
    });
}

#[test]
fn a_client_hears_of_a_servers_resets() {
    run(async {
        let (near, far) = wire();
        let _served = serve(far, &server_config(), async |request, mut reply| {
            match request.uri().path() {
                "/reset" => reply.send_reset(Reason::REFUSED_STREAM),
                "/drop" => drop(reply),
                "/late" => {
                    let mut send = reply.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"some"), false).unwrap();
                    settle().await;
                    send.send_reset(Reason::INTERNAL_ERROR);
                }
                "/half" => {
                    let mut send = reply.send_response(Response::new(()), false).unwrap();
                    send.send_data(Bytes::from_static(b"some"), false).unwrap();
                    settle().await;
                }
                // all is said, and the rest of the request is not needed
                _ => drop(reply.send_response(Response::new(()), true).unwrap()),
            }
        });
        let mut client = connect(near, &client_config());
        for (path, reason) in [
            ("/reset", Reason::REFUSED_STREAM),
            ("/drop", Reason::CANCEL),
        ] {
            let request = request(Method::GET, path);
            let (mut response, _send) = client.sender.send_request(&request, true).unwrap();
            let error = head(&mut response).await.unwrap_err();
            assert!(is_remote_reset(&error, reason), "{path}: {error}");
        }
        for (path, reason) in [("/late", Reason::INTERNAL_ERROR), ("/half", Reason::CANCEL)] {
            let request = request(Method::GET, path);
            let (mut response, _send) = client.sender.send_request(&request, true).unwrap();
            let (_, mut receive) = head(&mut response).await.unwrap();
            let first = poll_fn(|cx| receive.poll_data(cx)).await;
            assert_eq!(first.unwrap().unwrap(), "some");
            let error = receive_all(&mut receive).await.unwrap_err();
            assert!(is_remote_reset(&error, reason), "{path}: {error}");
        }
        let request = request(Method::POST, "/answered");
        let (mut response, mut send) = client.sender.send_request(&request, false).unwrap();
        let (parts, receive) = head(&mut response).await.unwrap();
        assert_eq!(parts.status, 200);
        assert!(receive.is_end_stream());
        let error = poll_fn(|cx| send.poll_reset(cx)).await;
        assert!(is_remote_reset(&error, Reason::NO_ERROR), "{error}");
        assert!(client.sender.is_open());
    });
}

#[test]
fn what_a_client_lets_go_of_is_reset() {
    run(async {
        let (near, far) = wire();
        let (mut requests, _orders) = other_server(far, h2::server::Builder::new());
        let mut client = connect(near, &client_config());
        let cx = &mut Context::from_waker(Waker::noop());
        for ends in [true, false] {
            let (response, send) = client
                .sender
                .send_request(&request(Method::POST, "/"), ends)
                .unwrap();
            let (_request, mut reply) = requests.recv().await.unwrap();
            drop(send);
            settle().await;
            assert!(reply.poll_reset(cx).is_pending(), "the response is awaited");
            drop(response);
            settle().await;
            let reset = reply.poll_reset(cx).map(Result::unwrap);
            assert_eq!(reset, Poll::Ready(h2::Reason::CANCEL));
        }
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        let (_request, mut reply) = requests.recv().await.unwrap();
        send.send_reset(Reason::INTERNAL_ERROR);
        settle().await;
        let reset = reply.poll_reset(cx).map(Result::unwrap);
        assert_eq!(reset, Poll::Ready(h2::Reason::INTERNAL_ERROR));
        let error = head(&mut response).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert!(!error.is_remote() && !error.is_library());
    });
}

#[test]
fn an_upload_whose_response_has_ended_is_reset_when_it_is_let_go_of() {
    run(async {
        let (near, far) = wire();
        let (mut requests, _orders) = other_server(far, h2::server::Builder::new());
        let mut client = connect(near, &client_config());
        let (mut response, send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        let (request, mut reply) = requests.recv().await.unwrap();
        reply.send_response(Response::new(()), true).unwrap();
        let (_, receive) = head(&mut response).await.unwrap();
        assert!(receive.is_end_stream());
        drop((response, receive, send));
        let error = other_receive_all(&mut request.into_body()).await;
        assert_eq!(error.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    });
}

#[test]
fn what_was_given_is_sent_though_its_stream_is_let_go_of() {
    run(async {
        let (near, far) = wire();
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(10);
        let (mut requests, _orders) = other_server(far, builder);
        let mut client = connect(near, &client_config());
        settle().await;
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        send.send_data(Bytes::from(body(50_000)), true).unwrap();
        drop(send);
        let (request, mut reply) = requests.recv().await.unwrap();
        let (got, _) = other_receive_all(&mut request.into_body()).await.unwrap();
        assert!(got == body(50_000));
        reply.send_response(Response::new(()), true).unwrap();
        assert_eq!(head(&mut response).await.unwrap().0.status, 200);
    });
}

#[test]
fn a_server_that_goes_serves_what_it_has_begun() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), echo);
        let (mut client, end) = other_client(near, &h2::client::Builder::new()).await;
        let (response, mut send) = client
            .send_request(request(Method::POST, "/"), false)
            .unwrap();
        let mut receive = response.await.unwrap().into_body();
        served.orders.send(Order::Graceful).unwrap();
        settle().await;
        let refused = poll_fn(|cx| client.poll_ready(cx)).await;
        assert!(refused.unwrap_err().is_go_away());
        assert!(!served.end.is_finished());
        send.send_data(Bytes::from_static(b"late"), true).unwrap();
        let (got, _) = other_receive_all(&mut receive).await.unwrap();
        assert_eq!(got, b"late");
        drop((client, send, receive));
        served.end.await.unwrap().unwrap();
        end.await.unwrap().unwrap();
    });
}

#[test]
fn a_server_without_streams_goes_at_once() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), echo);
        let (_client, end) = other_client(near, &h2::client::Builder::new()).await;
        served.orders.send(Order::Graceful).unwrap();
        // ignored: whether the client had gone before all was said
        let _ = served.end.await.unwrap();
        end.await.unwrap().unwrap();
    });
}

#[test]
fn a_server_that_goes_abruptly_says_why() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), echo);
        let (mut client, end) = other_client(near, &h2::client::Builder::new()).await;
        let (response, _send) = client
            .send_request(request(Method::POST, "/"), false)
            .unwrap();
        let _receive = response.await.unwrap();
        served
            .orders
            .send(Order::Abrupt(Reason::ENHANCE_YOUR_CALM))
            .unwrap();
        // ignored: whether it is an error that we ended it ourselves
        let _ = served.end.await.unwrap();
        let error = end.await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
        assert!(error.is_go_away() && error.is_remote());
    });
}

#[test]
fn a_client_takes_note_of_a_server_that_goes() {
    run(async {
        let (near, far) = wire();
        let (mut requests, orders) = other_server(far, h2::server::Builder::new());
        let mut client = connect(near, &client_config());
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        let (accepted, mut reply) = requests.recv().await.unwrap();
        orders.send(Order::Graceful).unwrap();
        settle().await;
        assert!(!client.sender.is_open());
        let refused = client
            .sender
            .send_request(&request(Method::GET, "/"), true)
            .unwrap_err();
        assert!(refused.is_go_away(), "{refused}");
        send_all(&mut send, b"late", None).await;
        let (got, _) = other_receive_all(&mut accepted.into_body()).await.unwrap();
        assert_eq!(got, b"late");
        reply.send_response(Response::new(()), true).unwrap();
        assert_eq!(head(&mut response).await.unwrap().0.status, 200);
        client.end.await.unwrap().unwrap();
    });
}

#[test]
fn a_client_ends_with_its_last_stream() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), echo);
        let mut client = connect(near, &client_config());
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        drop(client.sender);
        let (_, mut receive) = head(&mut response).await.unwrap();
        assert!(!client.end.is_finished());
        send_all(&mut send, b"late", None).await;
        assert_eq!(receive_all(&mut receive).await.unwrap().0, b"late");
        drop((response, send, receive));
        client.end.await.unwrap().unwrap();
        served.end.await.unwrap().unwrap();
    });
}

#[test]
fn streams_end_with_their_broken_connection() {
    run(async {
        let (near, far) = wire();
        let mut client = connect(near, &client_config());
        let (mut response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        settle().await;
        drop(far);
        let error = head(&mut response).await.unwrap_err();
        assert!(error.is_io(), "{error}");
        assert!(poll_fn(|cx| send.poll_reset(cx)).await.is_io());
        assert!(poll_fn(|cx| send.poll_room(cx)).await.is_err());
        assert!(!client.sender.is_open());
        let error = client.sender.send_request(&request(Method::GET, "/"), true);
        assert!(error.is_err());
        // ignored: whether that is an error of the connection as a whole
        let _ = client.end.await.unwrap();
    });
}

#[test]
fn a_client_keeps_to_the_servers_limit() {
    run(async {
        let (near, far) = wire();
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(2);
        let (mut requests, _orders) = other_server(far, builder);
        let mut client = connect(near, &client_config());
        assert_eq!(client.sender.max_send_streams(), 100);
        settle().await;
        assert_eq!(client.sender.max_send_streams(), 2);
        let mut sent = Vec::new();
        for _ in 0..2 {
            let request = request(Method::GET, "/");
            sent.push(client.sender.send_request(&request, true).unwrap());
        }
        let full = client
            .sender
            .send_request(&request(Method::GET, "/"), true)
            .unwrap_err();
        assert!(full.is_go_away() && full.reason().is_none(), "{full}");
        assert!(client.sender.is_open());
        let (_, mut reply) = requests.recv().await.unwrap();
        reply.send_response(Response::new(()), true).unwrap();
        assert_eq!(head(&mut sent[0].0).await.unwrap().0.status, 200);
        client
            .sender
            .send_request(&request(Method::GET, "/"), true)
            .unwrap();
    });
}

#[test]
fn a_server_refuses_what_is_beyond_its_limit() {
    run(async {
        let (near, far) = wire();
        let mut config = server_config();
        config.max_concurrent_streams = 5;
        let (release, released) = oneshot::channel::<()>();
        let mut released = Some(released);
        let _served = serve(far, &config, move |_, mut reply| {
            let released = released.take();
            async move {
                if let Some(released) = released {
                    let _ = released.await;
                } else {
                    settle().await;
                }
                reply.send_response(Response::new(()), true).unwrap();
            }
        });
        let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
        assert_eq!(client.current_max_send_streams(), 5);
        let mut all = Vec::new();
        for _ in 0..20 {
            poll_fn(|cx| client.poll_ready(cx)).await.unwrap();
            let (response, _) = client
                .send_request(request(Method::GET, "/"), true)
                .unwrap();
            all.push(spawn_local(response));
        }
        settle().await;
        release.send(()).unwrap();
        for response in all {
            assert_eq!(response.await.unwrap().unwrap().status(), 200);
        }
    });
}

#[test]
fn a_head_that_is_too_large_is_answered_or_reset() {
    run(async {
        let (near, far) = wire();
        let mut config = server_config();
        config.max_header_list_size = 2000;
        let _served = serve(far, &config, echo);
        let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
        let mut large = request(Method::GET, "/");
        let value = "x".repeat(3000).parse().unwrap();
        large.headers_mut().insert("large", value);
        let (response, _) = client.send_request(large, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
        let (response, _) = client
            .send_request(request(Method::GET, "/"), true)
            .unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    run(async {
        let (near, far) = wire();
        let (mut requests, _orders) = other_server(far, h2::server::Builder::new());
        let mut config = client_config();
        config.max_header_list_size = 2000;
        let mut client = connect(near, &config);
        for large in [true, false] {
            let (mut response, _send) = client
                .sender
                .send_request(&request(Method::GET, "/"), true)
                .unwrap();
            let (_, mut reply) = requests.recv().await.unwrap();
            let mut answer = Response::new(());
            let length = if large { 3000 } else { 100 };
            let value = "x".repeat(length).parse().unwrap();
            answer.headers_mut().insert("large", value);
            reply.send_response(answer, true).unwrap();
            let result = head(&mut response).await;
            assert_eq!(result.is_err(), large);
            assert!(result.is_ok_and(|_| true) || client.sender.is_open());
        }
    });
}

#[test]
fn heads_that_need_several_frames_pass() {
    run(async {
        let (near, far) = wire();
        let mut config = server_config();
        config.max_header_list_size = 200_000;
        let _served = serve(far, &config, echo);
        let mut config = client_config();
        config.max_header_list_size = 200_000;
        let mut client = connect(near, &config);
        let mut large = request(Method::POST, "/");
        for index in 0..50 {
            let name = http::HeaderName::try_from(format!("name-{index}")).unwrap();
            let value = format!("{index}~\\|").repeat(500).parse().unwrap();
            large.headers_mut().insert(name, value);
        }
        let headers = large.headers().clone();
        let (mut response, mut send) = client.sender.send_request(&large, false).unwrap();
        let (parts, mut receive) = head(&mut response).await.unwrap();
        assert_eq!(parts.headers, headers);
        send_all(&mut send, b"x", Some(headers.clone())).await;
        let (_, trailers) = receive_all(&mut receive).await.unwrap();
        assert_eq!(trailers, Some(headers));
    });
}

#[test]
fn pings_are_answered_by_both_ends() {
    run(async {
        let (near, far) = wire();
        let mut served = serve(far, &server_config(), echo);
        let (_client, _end) = other_client(near, &h2::client::Builder::new()).await;
        for _ in 0..3 {
            assert!(served.pings.send_ping());
            assert!(!served.pings.send_ping(), "one is unanswered");
            poll_fn(|cx| served.pings.poll_pong(cx)).await;
        }
        let (near, far) = wire();
        let _served = serve(far, &server_config(), echo);
        let mut client = connect(near, &client_config());
        for _ in 0..3 {
            assert!(client.pings.send_ping());
            assert!(!client.pings.send_ping(), "one is unanswered");
            poll_fn(|cx| client.pings.poll_pong(cx)).await;
        }
    });
}

#[test]
fn a_request_that_nobody_waits_for_is_reset_though_it_is_not_sent_yet() {
    run(async {
        let (near, far) = wire();
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(10);
        let (mut requests, _orders) = other_server(far, builder);
        let mut client = connect(near, &client_config());
        settle().await;
        let (response, mut send) = client
            .sender
            .send_request(&request(Method::POST, "/"), false)
            .unwrap();
        send.send_data(Bytes::from(body(50_000)), true).unwrap();
        let (request, _reply) = requests.recv().await.unwrap();
        drop((response, send));
        let error = other_receive_all(&mut request.into_body()).await;
        assert_eq!(error.unwrap_err().reason(), Some(h2::Reason::CANCEL));
    });
}

#[test]
fn a_server_that_goes_ends_when_the_last_data_have_left() {
    run(async {
        let (near, far) = wire();
        let served = serve(far, &server_config(), async |_, mut reply| {
            let mut send = reply.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from(body(70_000)), true).unwrap();
        });
        let (mut read, mut write) = tokio::io::split(near);
        let heard = spawn_local(async move {
            let mut heard = Vec::new();
            read.read_to_end(&mut heard).await.unwrap();
            heard.len()
        });
        let get = frame(HEADERS, WHOLE, 1, GET);
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, b""), &get].concat();
        write.write_all(&begin).await.unwrap();
        settle().await;
        served.orders.send(Order::Graceful).unwrap();
        settle().await;
        write
            .write_all(&frame(PING, ACK, 0, b"shutdown"))
            .await
            .unwrap();
        settle().await;
        for stream in [0, 1] {
            let more = frame(WINDOW_UPDATE, 0, stream, &10_000_u32.to_be_bytes());
            write.write_all(&more).await.unwrap();
        }
        settle().await;
        assert!(served.end.is_finished());
        assert_eq!(served.end.await.unwrap(), Ok(()));
        assert!(heard.await.unwrap() > 70_000);
    });
}

/// A stream that says nothing and takes nothing.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_client_that_cannot_write_ends_though_it_could_read() {
    run(async {
        let (_sender, mut connection) = client::connect(Broken, &client_config());
        let end = spawn_local(async move { poll_fn(|cx| connection.poll(cx)).await });
        assert!(end.await.unwrap().unwrap_err().is_io());
    });
}
