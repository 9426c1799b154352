//! A client's bytes on an HTTP/2 connection: whatever they are, the connection comes to an end,
//! so does each of its streams, and what comes back is a sequence of whole frames.
#![no_main]

mod peer;

use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Response};
use libfuzzer_sys::fuzz_target;
use meltemi_http2::server::{Config, Connection, SendResponse};
use meltemi_http2::{RecvStream, SendStream};
use peer::{Peer, check_frames};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers a request when all of it has come; a `CONNECT` at once, and then says again what the
/// client says.
struct Exchange {
    receive: RecvStream,
    reply: SendResponse,
    echo: Option<SendStream>,
}

impl Exchange {
    fn new(receive: RecvStream, mut reply: SendResponse, method: &Method) -> Option<Self> {
        let echo = match method == Method::CONNECT {
            true => Some(reply.send_response(Response::new(()), false).ok()?),
            false => None,
        };
        Some(Self {
            receive,
            reply,
            echo,
        })
    }

    /// Ready when it is done, or the stream is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let reset = match &mut self.echo {
            Some(echo) => echo.poll_reset(cx),
            None => self.reply.poll_reset(cx),
        };
        if reset.is_ready() {
            return Poll::Ready(None);
        }
        loop {
            if let Some(echo) = &mut self.echo
                && ready!(echo.poll_room(cx)).is_err()
            {
                return Poll::Ready(None);
            }
            match ready!(self.receive.poll_data(cx)) {
                None => break,
                Some(Err(_)) => return Poll::Ready(None),
                Some(Ok(data)) => {
                    if let Some(echo) = &mut self.echo
                        && echo.send_data(data, false).is_err()
                    {
                        return Poll::Ready(None);
                    }
                }
            }
        }
        Poll::Ready(match ready!(self.receive.poll_trailers(cx)) {
            Ok(trailers) => self.end(trailers),
            Err(_) => None,
        })
    }

    fn end(&mut self, trailers: Option<http::HeaderMap>) -> Option<()> {
        let mut send = match self.echo.take() {
            Some(echo) => echo,
            None => {
                let mut send = self.reply.send_response(Response::new(()), false).ok()?;
                send.send_data(Bytes::from_static(b"ok"), false).ok()?;
                send
            }
        };
        match trailers {
            Some(trailers) => send.send_trailers(trailers).ok(),
            None => send.send_data(Bytes::new(), true).ok(),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let config = Config {
        stream_window: 1 << 10,
        connection_window: 64 << 10,
        max_concurrent_streams: 4,
        max_header_list_size: 4 << 10,
        enable_connect_protocol: true,
    };
    let (peer, heard, turns) = Peer::new(PREFACE, bytes);
    let mut connection = Connection::new(peer, &config);
    let mut exchanges = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut ended = false;
    for _ in 0..turns {
        while let Poll::Ready(next) = connection.poll_accept(cx) {
            let Some(Ok((request, reply))) = next else {
                ended = true;
                break;
            };
            let (parts, receive) = request.into_parts();
            exchanges.extend(Exchange::new(receive, reply, &parts.method));
        }
        exchanges.retain_mut(|exchange| exchange.poll(cx).is_pending());
        let _ = connection.poll_flush(cx);
        if ended {
            break;
        }
    }
    assert!(ended, "a connection that does not end");
    assert!(
        exchanges.is_empty(),
        "a stream that outlives its connection"
    );
    check_frames(&heard.borrow());
});
