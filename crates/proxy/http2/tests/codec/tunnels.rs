//! CONNECT and extended CONNECT (RFC 8441): bytes both ways, whose ends are apart.

use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use meltemi_http2::Protocol;

use crate::fixture::{
    body, client_config, connect, echo, head, other_client, other_receive_all, other_send_all,
    other_server, receive_all, run, send_all, serve, server_config, wire,
};

fn connect_request(protocol: Option<&'static str>) -> Request<()> {
    let uri = match protocol {
        None => "host:443",
        Some(_) => "http://host/chat",
    };
    let mut request = Request::builder().method(Method::CONNECT).uri(uri);
    if let Some(protocol) = protocol {
        request = request.extension(Protocol(HeaderValue::from_static(protocol)));
    }
    request.body(()).unwrap()
}

#[test]
fn a_server_is_a_tunnels_end() {
    for protocol in [None, Some("websocket")] {
        run(async move {
            let (near, far) = wire();
            let _served = serve(far, &server_config(), move |request, reply| async move {
                assert_eq!(request.method(), Method::CONNECT);
                let asked = request.extensions().get::<Protocol>();
                let asked = asked.map(|Protocol(name)| name.as_bytes());
                assert_eq!(asked, protocol.map(str::as_bytes));
                let uri = request.uri();
                assert_eq!(uri.host(), Some("host"));
                let path = uri.path_and_query().map(|path| path.as_str());
                assert_eq!(path, protocol.map(|_| "/chat"));
                assert_eq!(uri.scheme_str(), protocol.map(|_| "http"));
                echo(request, reply).await;
            });
            let (mut client, _end) = other_client(near, &h2::client::Builder::new()).await;
            assert!(client.is_extended_connect_protocol_enabled());
            let mut request = connect_request(protocol);
            if let Some(protocol) = protocol {
                let protocol = h2::ext::Protocol::from_static(protocol);
                request.extensions_mut().insert(protocol);
            }
            let (response, mut send) = client.send_request(request, false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let mut receive = response.into_body();
            for word in ["one", "two"] {
                send.send_data(Bytes::from_static(word.as_bytes()), false)
                    .unwrap();
                let got = receive.data().await.unwrap().unwrap();
                assert_eq!(got, word);
                let _ = receive.flow_control().release_capacity(got.len());
            }
            other_send_all(&mut send, b"last", None).await;
            let (got, _) = other_receive_all(&mut receive).await.unwrap();
            assert_eq!(got, b"last");
        });
    }
}

#[test]
fn a_client_is_a_tunnels_end() {
    for protocol in [None, Some("websocket")] {
        run(async move {
            let (near, far) = wire();
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let (mut requests, _orders) = other_server(far, builder);
            let mut client = connect(near, &client_config());
            crate::fixture::settle().await;
            let request = connect_request(protocol);
            let (mut response, mut send) = client.sender.send_request(&request, false).unwrap();
            let (asked, mut reply) = requests.recv().await.unwrap();
            assert_eq!(asked.method(), Method::CONNECT);
            let name = asked.extensions().get::<h2::ext::Protocol>();
            assert_eq!(name.map(h2::ext::Protocol::as_str), protocol);
            assert_eq!(asked.uri().host(), Some("host"));
            let mut there = asked.into_body();
            let mut back = reply.send_response(Response::new(()), false).unwrap();
            let (parts, mut receive) = head(&mut response).await.unwrap();
            assert_eq!(parts.status, 200);
            for word in ["one", "two"] {
                poll_fn(|cx| send.poll_room(cx)).await.unwrap();
                send.send_data(Bytes::from_static(word.as_bytes()), false)
                    .unwrap();
                assert_eq!(there.data().await.unwrap().unwrap(), word);
                back.send_data(Bytes::from_static(word.as_bytes()), false)
                    .unwrap();
                let got = poll_fn(|cx| receive.poll_data(cx)).await;
                assert_eq!(got.unwrap().unwrap(), word);
            }
            // the server's half ends first, and the client's goes on
            back.send_data(Bytes::new(), true).unwrap();
            assert_eq!(receive_all(&mut receive).await.unwrap(), (Vec::new(), None));
            send_all(&mut send, &body(60_000), None).await;
            let (got, _) = other_receive_all(&mut there).await.unwrap();
            assert!(got == body(60_000));
        });
    }
}
