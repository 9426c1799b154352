//! Both ends of both implementations over a stream in memory.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use meltemi_http2::client::{self, SendRequest};
use meltemi_http2::server::{self, SendResponse};
use meltemi_http2::{Error, Reason, RecvStream, SendStream};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// What a body may be cut into.
const PIECE: usize = 10_000;

/// Runs a test on one thread. Time stands still while something moves, so that a test that waits
/// for what will not come fails at once.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let limit = Duration::from_hours(1);
    LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(limit, test).await })
        .expect("the test comes to an end");
}

/// A stream in memory, which takes little at a time.
pub fn wire() -> (DuplexStream, DuplexStream) {
    duplex(20_000)
}

/// Lets everybody work who can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// What a server allows: much.
pub fn server_config() -> server::Config {
    server::Config {
        stream_window: 65_535,
        connection_window: 1 << 20,
        max_concurrent_streams: 1000,
        max_header_list_size: 16 << 10,
        enable_connect_protocol: true,
    }
}

/// What a client allows: much.
pub fn client_config() -> client::Config {
    client::Config {
        stream_window: 65_535,
        connection_window: 1 << 20,
        max_header_list_size: 16 << 10,
        initial_max_send_streams: 100,
    }
}

/// What the driver of a server's connection is to do.
#[derive(Debug)]
pub enum Order {
    Graceful,
    Abrupt(Reason),
}

/// A server's connection that is driven.
pub struct Served {
    pub orders: mpsc::UnboundedSender<Order>,
    pub pings: meltemi_http2::PingPong,
    pub end: JoinHandle<Result<(), Error>>,
}

/// Drives a server's connection; each request is handled in a task.
pub fn serve<F>(
    io: DuplexStream,
    config: &server::Config,
    mut handle: impl FnMut(Request<RecvStream>, SendResponse) -> F + 'static,
) -> Served
where
    F: Future<Output = ()> + 'static,
{
    let mut connection = server::Connection::new(io, config);
    let pings = connection.ping_pong();
    let (orders, mut received) = mpsc::unbounded_channel();
    let end = spawn_local(async move {
        let result = loop {
            let next = poll_fn(|cx| {
                while let Poll::Ready(Some(order)) = received.poll_recv(cx) {
                    match order {
                        Order::Graceful => connection.graceful_shutdown(),
                        Order::Abrupt(reason) => connection.abrupt_shutdown(reason),
                    }
                }
                let next = connection.poll_accept(cx);
                if next.is_pending() {
                    let _ = connection.poll_flush(cx);
                }
                next
            });
            match next.await {
                Some(Ok((request, reply))) => {
                    spawn_local(handle(request, reply));
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        let _ = poll_fn(|cx| connection.poll_flush(cx)).await;
        result
    });
    Served { orders, pings, end }
}

/// Says again what it is told.
pub async fn echo(request: Request<RecvStream>, mut reply: SendResponse) {
    let (head, mut receive) = request.into_parts();
    let mut response = Response::new(());
    for (name, value) in &head.headers {
        response.headers_mut().append(name, value.clone());
    }
    if head.method == Method::HEAD || receive.is_end_stream() {
        reply.send_response(response, true).unwrap();
        return;
    }
    let mut send = reply.send_response(response, false).unwrap();
    while let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await {
        poll_fn(|cx| send.poll_room(cx)).await.unwrap();
        send.send_data(data.unwrap(), false).unwrap();
    }
    let trailers = poll_fn(|cx| receive.poll_trailers(cx)).await.unwrap();
    match trailers {
        Some(trailers) => send.send_trailers(trailers).unwrap(),
        None => send.send_data(Bytes::new(), true).unwrap(),
    }
}

/// A client's connection that is driven.
pub struct Client {
    pub sender: SendRequest,
    pub pings: meltemi_http2::PingPong,
    pub end: JoinHandle<Result<(), Error>>,
}

/// Begins as a client.
pub fn connect(io: DuplexStream, config: &client::Config) -> Client {
    let (sender, mut connection) = client::connect(io, config);
    let pings = connection.ping_pong();
    let end = spawn_local(async move { poll_fn(|cx| connection.poll(cx)).await });
    Client { sender, pings, end }
}

/// Begins as a client, of the other implementation.
pub async fn other_client(
    io: DuplexStream,
    builder: &h2::client::Builder,
) -> (
    h2::client::SendRequest<Bytes>,
    JoinHandle<Result<(), h2::Error>>,
) {
    let (sender, connection) = builder.handshake(io).await.unwrap();
    let end = spawn_local(connection);
    // the server's settings are known from here on
    settle().await;
    (sender, end)
}

/// A request and its answer, as the other implementation has them.
pub type OtherExchange = (Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// Serves with the other implementation. Gives what is accepted, and takes what is to be done with
/// the connection.
pub fn other_server(
    io: DuplexStream,
    builder: h2::server::Builder,
) -> (
    mpsc::UnboundedReceiver<OtherExchange>,
    mpsc::UnboundedSender<Order>,
) {
    let (accepted, requests) = mpsc::unbounded_channel();
    let (orders, mut received) = mpsc::unbounded_channel();
    spawn_local(async move {
        let mut connection = builder.handshake(io).await.unwrap();
        loop {
            let next = poll_fn(|cx| {
                while let Poll::Ready(Some(order)) = received.poll_recv(cx) {
                    match order {
                        Order::Graceful => connection.graceful_shutdown(),
                        Order::Abrupt(reason) => connection.abrupt_shutdown(reason.code().into()),
                    }
                }
                connection.poll_accept(cx)
            });
            let Some(Ok(exchange)) = next.await else {
                break;
            };
            let _ = accepted.send(exchange);
        }
    });
    (requests, orders)
}

/// A body that tells where a part of it belongs.
pub fn body(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 7 + at / 256) as u8).collect()
}

/// Some trailers.
pub fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.append("twice", HeaderValue::from_static("a"));
    trailers.append("twice", HeaderValue::from_static("b"));
    trailers
}

/// A request for this path.
pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://host{path}"))
        .header("some", "thing")
        .body(())
        .unwrap()
}

/// Sends all of a body, as the windows allow.
pub async fn send_all(send: &mut SendStream, body: &[u8], trailers: Option<HeaderMap>) {
    for piece in body.chunks(PIECE) {
        poll_fn(|cx| send.poll_room(cx)).await.unwrap();
        send.send_data(Bytes::copy_from_slice(piece), false)
            .unwrap();
    }
    match trailers {
        Some(trailers) => send.send_trailers(trailers).unwrap(),
        None => send.send_data(Bytes::new(), true).unwrap(),
    }
}

/// All that is received.
pub async fn receive_all(receive: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), Error> {
    let mut body = Vec::new();
    while let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await {
        body.extend_from_slice(&data?);
    }
    let trailers = poll_fn(|cx| receive.poll_trailers(cx)).await?;
    assert!(receive.is_end_stream());
    Ok((body, trailers))
}

/// Sends all of a body with the other implementation, as the windows allow.
pub async fn other_send_all(
    send: &mut h2::SendStream<Bytes>,
    mut body: &[u8],
    trailers: Option<HeaderMap>,
) {
    while !body.is_empty() {
        send.reserve_capacity(body.len().min(PIECE));
        while send.capacity() == 0 {
            poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        }
        let (piece, rest) = body.split_at(send.capacity().min(body.len()));
        send.send_data(Bytes::copy_from_slice(piece), false)
            .unwrap();
        body = rest;
    }
    match trailers {
        Some(trailers) => send.send_trailers(trailers).unwrap(),
        None => send.send_data(Bytes::new(), true).unwrap(),
    }
}

/// All that the other implementation receives.
pub async fn other_receive_all(
    receive: &mut h2::RecvStream,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = receive.data().await {
        let data = data?;
        body.extend_from_slice(&data);
        receive.flow_control().release_capacity(data.len())?;
    }
    let trailers = receive.trailers().await?;
    Ok((body, trailers))
}

/// What a response's head is.
pub async fn head(
    response: &mut client::ResponseFuture,
) -> Result<(http::response::Parts, RecvStream), Error> {
    let response = poll_fn(|cx| Pin::new(&mut *response).poll(cx)).await?;
    Ok(response.into_parts())
}

/// Something that a task leaves for the test.
pub type Left<T> = Rc<RefCell<Option<T>>>;
