//! Both ends against each other, with windows, bodies, cancellations and ends as chance has them.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::io::duplex;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::client::{self, ResponseFuture, SendRequest};
use crate::core::Core;
use crate::frame::{put_settings, setting};
use crate::server::{self, SendResponse};
use crate::share::Shared;
use crate::{Error, Reason, RecvStream, SendStream};

const ROUNDS: u64 = 1000;
/// A connection is polled so often at most in a round.
const POLLS: u64 = 20_000;

/// Numbers that only look like chance.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn size(&mut self, most: u64) -> usize {
        let limit = match self.below(4) {
            0 => 1,
            1 => 20,
            2 => 1 + most / 10,
            _ => 1 + most,
        };
        self.below(limit) as usize
    }
}

/// How one direction of a stream goes.
struct Way {
    size: usize,
    piece: usize,
    trailers: bool,
    /// It says that it ends with its last data.
    ends_with_data: bool,
    /// It gives all without waiting for room.
    pushes: bool,
    /// The sender breaks off after so many bytes, or the receiver does.
    sender_stops: Option<(usize, bool)>,
    receiver_stops: Option<usize>,
    /// How often the receiver lets others go first.
    sloth: u64,
}

impl Way {
    fn new(chance: &mut Chance, most: u64) -> Self {
        let size = chance.size(most);
        let stop = |chance: &mut Chance| {
            let at = chance.below(1 + size as u64) as usize;
            let by_reset = chance.one_in(2);
            chance.one_in(8).then_some((at, by_reset))
        };
        Self {
            size,
            piece: 1 + size / 200 + chance.size(30_000),
            trailers: chance.one_in(3),
            ends_with_data: chance.one_in(2),
            pushes: chance.one_in(3),
            sender_stops: stop(chance),
            receiver_stops: stop(chance).map(|(at, _)| at),
            sloth: chance.below(4),
        }
    }

    fn is_whole(&self) -> bool {
        self.sender_stops.is_none() && self.receiver_stops.is_none()
    }

    async fn send(&self, mut send: SendStream) -> Result<(), Error> {
        let mut sent = 0;
        loop {
            if let Some((at, by_reset)) = self.sender_stops
                && sent >= at
            {
                if by_reset {
                    send.send_reset(Reason::INTERNAL_ERROR);
                }
                return Ok(());
            }
            let count = self.piece.min(self.size - sent);
            let ends = sent + count == self.size;
            if !self.pushes {
                poll_fn(|cx| send.poll_room(cx)).await?;
            }
            if ends && self.trailers {
                send.send_data(body(sent, count), false)?;
                return send.send_trailers(trailers());
            }
            send.send_data(body(sent, count), ends && self.ends_with_data)?;
            if ends && self.ends_with_data {
                return Ok(());
            }
            if ends {
                return send.send_data(Bytes::new(), true);
            }
            sent += count;
        }
    }

    async fn receive(&self, mut receive: RecvStream) -> Result<(), Error> {
        let mut received = 0;
        loop {
            if let Some(at) = self.receiver_stops
                && received >= at
            {
                return Ok(());
            }
            for _ in 0..self.sloth {
                yield_now().await;
            }
            let Some(data) = poll_fn(|cx| receive.poll_data(cx)).await else {
                break;
            };
            let data = data?;
            assert!(data == body(received, data.len()), "other data");
            received += data.len();
        }
        let got = poll_fn(|cx| receive.poll_trailers(cx)).await?;
        assert_eq!(received, self.size);
        assert_eq!(got.is_some(), self.trailers);
        assert!(receive.is_end_stream());
        Ok(())
    }
}

/// What is sent: bytes that tell where they belong.
fn body(from: usize, count: usize) -> Bytes {
    thread_local! {
        static ALL: Bytes = (0..1 << 18).map(|at| (at / 3 + at / 256) as u8).collect();
    }
    ALL.with(|all| all.slice(from..from + count))
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("end", HeaderValue::from_static("yes"));
    trailers
}

/// How a request and its response go.
struct Plan {
    up: Way,
    down: Way,
    /// The server answers before it reads.
    answers_first: bool,
    /// The client does not wait for the answer.
    client_leaves: bool,
    server_leaves: bool,
}

impl Plan {
    fn new(number: u64, most: u64) -> Self {
        let chance = &mut Chance(number);
        let mut plan = Self {
            up: Way::new(chance, most),
            down: Way::new(chance, most),
            answers_first: chance.one_in(2),
            client_leaves: chance.one_in(10),
            server_leaves: chance.one_in(10),
        };
        if let Some((_, by_reset)) = &mut plan.up.sender_stops {
            // the other end, and the answer, would wait for more
            *by_reset = true;
        }
        if plan.client_leaves || plan.down.receiver_stops.is_some() {
            // each would wait for the other, who does not read
            plan.up.receiver_stops = None;
        }
        plan
    }

    fn is_whole(&self) -> bool {
        self.up.is_whole() && self.down.is_whole() && !self.client_leaves && !self.server_leaves
    }

    async fn ask(&self, response: ResponseFuture, send: SendStream) {
        let up = self.up.send(send);
        let down = async {
            if self.client_leaves {
                drop(response);
                return Ok(());
            }
            self.down.receive(response.await?.into_body()).await
        };
        self.check(tokio::join!(up, down));
    }

    async fn answer(&self, request: Request<RecvStream>, mut reply: SendResponse) {
        if self.server_leaves {
            return;
        }
        let receive = request.into_body();
        if self.answers_first {
            let Ok(send) = reply.send_response(Response::new(()), false) else {
                return self.check((Ok(()), Err(Error(crate::error::Kind::Full))));
            };
            drop(reply);
            let ends = tokio::join!(self.up.receive(receive), self.down.send(send));
            return self.check(ends);
        }
        let up = self.up.receive(receive).await;
        let down = async {
            let send = reply.send_response(Response::new(()), false)?;
            self.down.send(send).await
        };
        self.check((up, down.await));
    }

    fn check(&self, ends: (Result<(), Error>, Result<(), Error>)) {
        if self.is_whole() {
            assert_eq!(ends, (Ok(()), Ok(())));
        }
    }
}

/// Counts how often something is polled.
async fn counted<T>(mut poll: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>) -> T {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        assert!(polls < POLLS, "a connection that does not rest");
        poll(cx)
    })
    .await
}

/// What a connection is when all of its streams are gone.
fn check(core: &Shared) -> (i64, i64) {
    let core = core.borrow();
    assert_eq!(core.active, 0);
    assert!(core.streams.keys().is_empty() && core.waiting.is_empty() && core.accepted.is_empty());
    assert_eq!(core.unsent(), 0);
    assert!(!core.is_stirred && core.failed.is_none());
    let given = core.receive_window + i64::from(core.unclaimed);
    assert_eq!(given, i64::from(core.limits.connection_window));
    (core.send_window, core.receive_window)
}

async fn round(number: u64) {
    let chance = &mut Chance(number);
    let most = 1 << (4 + chance.below(14));
    let mut window = || (most / 20 + 1 + chance.size(70_000) as u64) as u32;
    let (client_window, server_window) = (window(), window());
    let server_config = server::Config {
        stream_window: server_window,
        connection_window: 65_535 + chance.size(100_000) as u32,
        max_concurrent_streams: 20,
        max_header_list_size: 16 << 10,
        enable_connect_protocol: true,
    };
    let client_config = client::Config {
        stream_window: client_window,
        connection_window: 65_535 + chance.size(100_000) as u32,
        max_header_list_size: 16 << 10,
        initial_max_send_streams: 5,
    };
    let (near, far) = duplex(1 + 64 * chance.size(1000).max(1));
    let busy = Rc::new(Cell::new(0));
    let (mut sender, mut connection) = client::connect(near, &client_config);
    let client_core = connection.ping_pong().0;
    let client_end = spawn_local(async move { counted(|cx| connection.poll(cx)).await });

    let mut connection = server::Connection::new(far, &server_config);
    let server_core = connection.ping_pong().0;
    let (shut, mut is_shut) = tokio::sync::oneshot::channel::<()>();
    let served = busy.clone();
    let server_end = spawn_local(counted(move |cx| {
        if !is_shut.is_terminated() && Pin::new(&mut is_shut).poll(cx).is_ready() {
            connection.graceful_shutdown();
        }
        while let Poll::Ready(next) = connection.poll_accept(cx) {
            let Some(next) = next else {
                return Poll::Ready(Ok(()));
            };
            let (request, reply) = match next {
                Ok(accepted) => accepted,
                Err(error) => return Poll::Ready(Err(error)),
            };
            let plan = request.uri().path()[1..].parse().unwrap();
            let served = served.clone();
            served.set(served.get() + 1);
            spawn_local(async move {
                Plan::new(plan, most).answer(request, reply).await;
                served.set(served.get() - 1);
            });
        }
        let _ = connection.poll_flush(cx);
        Poll::Pending
    }));

    for _ in 0..12 {
        let plan = chance.below(u64::MAX);
        let (response, send) = open(&mut sender, plan).await;
        let asked = busy.clone();
        asked.set(asked.get() + 1);
        spawn_local(async move {
            Plan::new(plan, most).ask(response, send).await;
            asked.set(asked.get() - 1);
        });
        for _ in 0..chance.below(5) {
            yield_now().await;
        }
        for core in [&client_core, &server_core] {
            let window = most / 20 + chance.size(70_000) as u64;
            if chance.one_in(3) {
                change_window(&mut core.borrow_mut(), window as u32);
            }
        }
    }
    let mut sender = Some(sender);
    let early = chance.one_in(3);
    if early {
        sender = None;
    }
    settle().await;
    assert_eq!(busy.get(), 0, "a stream that does not end");
    if !early {
        let (client, server) = (check(&client_core), check(&server_core));
        assert_eq!((client.0, client.1), (server.1, server.0));
        match chance.one_in(2) {
            true => sender = None,
            false => drop(shut.send(())),
        }
        settle().await;
    }
    assert!(client_end.is_finished() && server_end.is_finished());
    assert_eq!(
        (client_end.await.unwrap(), server_end.await.unwrap()),
        (Ok(()), Ok(()))
    );
    drop(sender);
}

/// Allows more or less on each stream, if the other end knows what it may so far.
fn change_window(core: &mut Core, window: u32) {
    if core.last_stream.max(core.next_stream) > 5
        && core.confirmed_window == core.limits.stream_window
    {
        core.limits.stream_window = window.max(1);
        let window = core.limits.stream_window;
        put_settings(&mut core.out, &[(setting::INITIAL_WINDOW_SIZE, window)]);
        core.stir();
    }
}

/// Sends a request's head as soon as there is a place for it.
async fn open(sender: &mut SendRequest, plan: u64) -> (ResponseFuture, SendStream) {
    for _ in 0..1000 {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://host/{plan}"))
            .body(())
            .unwrap();
        match sender.send_request(&request, false) {
            Ok(opened) => return opened,
            Err(error) => assert!(error.is_go_away() && sender.is_open(), "{error}"),
        }
        settle().await;
    }
    panic!("no place for another stream");
}

/// Lets everybody work who can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[test]
fn everything_arrives_and_everything_is_given_back() {
    for number in 0..ROUNDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, round(number));
    }
}
