//! A server's bytes on an HTTP/2 connection that has two requests in flight, one of them with a
//! body: whatever they are, the connection comes to an end, so do the requests, and what was sent
//! is a sequence of whole frames.
#![no_main]

mod peer;

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use meltemi_http2::client::{Config, ResponseFuture, connect};
use meltemi_http2::{Error, RecvStream, SendStream};
use peer::{Peer, check_frames};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request that was sent, and its response.
struct Exchange {
    /// Where its body goes, and how many pieces of it there still are.
    send: SendStream,
    pieces: usize,
    response: ResponseFuture,
    receive: Option<RecvStream>,
}

impl Exchange {
    /// Ready when the response has ended, or the stream is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.pieces > 0
            && let Poll::Ready(room) = self.send.poll_room(cx)
        {
            self.pieces -= 1;
            let piece = Bytes::from_static(&[b'x'; 10_000]);
            if room.is_err() || self.send.send_data(piece, self.pieces == 0).is_err() {
                self.pieces = 0;
            }
        }
        let receive = match &mut self.receive {
            Some(receive) => receive,
            None => {
                let response = ready!(Pin::new(&mut self.response).poll(cx));
                self.receive.insert(response.map(Response::into_body)?)
            }
        };
        while let Some(data) = ready!(receive.poll_data(cx)) {
            data?;
        }
        receive.poll_trailers(cx).map_ok(drop)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let config = Config {
        stream_window: 1 << 10,
        connection_window: 64 << 10,
        max_header_list_size: 4 << 10,
        initial_max_send_streams: 10,
    };
    let (peer, heard, turns) = Peer::new(b"", bytes);
    let (mut sender, mut connection) = connect(peer, &config);
    let mut exchanges = Vec::new();
    for pieces in [0, 20] {
        let mut request = Request::new(());
        *request.uri_mut() = http::Uri::from_static("http://fuzz/");
        let sent = sender.send_request(&request, pieces == 0);
        let (response, send) = sent.expect("the connection is new");
        exchanges.push(Exchange {
            send,
            pieces,
            response,
            receive: None,
        });
    }
    let cx = &mut Context::from_waker(Waker::noop());
    let mut ended = false;
    for _ in 0..turns {
        ended = connection.poll(cx).is_ready();
        exchanges.retain_mut(|exchange| exchange.poll(cx).is_pending());
        if ended {
            break;
        }
    }
    assert!(ended, "a connection that does not end");
    assert!(
        exchanges.is_empty(),
        "a request that outlives its connection"
    );
    let heard = heard.borrow();
    // None where the connection ended before its first flush.
    if !heard.is_empty() {
        check_frames(heard.strip_prefix(PREFACE).expect("the preface"));
    }
});
