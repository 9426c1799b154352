//! Streams that stop being HTTP: which are allowed, when both sides agree, and the bytes that
//! then go both ways.

use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, ResponseFlags};
use meltemi_upstream::{Http2Bytes, ResponseBody};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::deadline::{Deadlines, Expired};
use crate::head::RequestHead;
use crate::headers::names;
use crate::progress;
use crate::stream::{Stream, StreamEnd};

/// Gives the bytes of a client's stream of HTTP/2, when the response's head has gone out.
pub(crate) type Give = oneshot::Sender<Http2Bytes>;

/// Where they will be.
pub(crate) type Take = oneshot::Receiver<Http2Bytes>;

/// What the client offers to change to.
pub(crate) struct Offer {
    /// Where the client's bytes will be; none for HTTP/1, where they are the connection's.
    bytes: Option<Take>,
    /// None for `CONNECT`.
    protocol: Option<HeaderValue>,
}

/// An upgrade that both sides agreed on, about to begin.
pub(crate) struct Tunnel {
    bytes: Option<Take>,
    upstream: Response<ResponseBody>,
    deadlines: Deadlines,
    end: StreamEnd,
}

/// Whether the request asks for no upgrade, or for one that is allowed.
pub(crate) fn is_allowed(
    head: &RequestHead,
    config: &ir::HttpConnectionManager,
    target: Option<&ir::RouteTarget>,
) -> bool {
    let wanted = match &head.upgrade {
        Some(protocol) => protocol.as_bytes(),
        None if head.method == Method::CONNECT => b"connect",
        None => return true,
    };
    let by_route = target.and_then(|target| {
        target
            .upgrades
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(wanted))
    });
    match by_route {
        Some((_, allowed)) => *allowed,
        None => config
            .upgrades
            .iter()
            .any(|name| name.as_bytes().eq_ignore_ascii_case(wanted)),
    }
}

impl Offer {
    /// What a request offers whose codec can change.
    pub(crate) fn of(
        head: &mut RequestHead,
        protocol: Protocol,
        bytes: Option<Take>,
    ) -> Option<Self> {
        let bytes = if protocol == Protocol::Http2 {
            Some(bytes?)
        } else {
            head.extensions.remove::<OnUpgrade>()?;
            None
        };
        let offers = head.upgrade.is_some() || head.path.is_none();
        offers.then(|| Self {
            bytes,
            protocol: head.upgrade.clone(),
        })
    }

    /// Whether the upstream's response takes the offer up.
    pub(crate) fn is_taken(&self, response: &Response<ResponseBody>) -> bool {
        match &self.protocol {
            None => response.status().is_success(),
            // An HTTP/2 upstream was asked by an extended CONNECT.
            Some(_) => {
                response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || (response.status().is_success()
                        && response.version() == http::Version::HTTP_2)
            }
        }
    }

    /// The head of the response for the client, and the tunnel behind it.
    pub(crate) fn accept(
        self,
        mut upstream: Response<ResponseBody>,
        deadlines: Deadlines,
        end: StreamEnd,
    ) -> (http::response::Parts, Tunnel) {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.headers = std::mem::take(upstream.headers_mut());
        parts.status = upstream.status();
        if let Some(protocol) = self.protocol {
            if self.bytes.is_some() {
                parts.status = StatusCode::OK;
                parts.headers.remove(header::CONNECTION);
                parts.headers.remove(header::UPGRADE);
                parts.headers.remove("sec-websocket-accept");
            } else {
                parts.status = StatusCode::SWITCHING_PROTOCOLS;
                parts.headers.insert(header::CONNECTION, names::UPGRADE);
                parts.headers.entry(header::UPGRADE).or_insert(protocol);
            }
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::TRANSFER_ENCODING);
        let tunnel = Tunnel {
            bytes: self.bytes,
            upstream,
            deadlines,
            end,
        };
        (parts, tunnel)
    }
}

impl Tunnel {
    /// Lets the bytes flow when the response's head has gone out.
    pub(crate) fn start(mut self, connection: &Connection) {
        match self.bytes.take() {
            None => *connection.tunnel.borrow_mut() = Some(self),
            Some(bytes) => {
                tokio::task::spawn_local(async move {
                    if let Ok(mut downstream) = bytes.await {
                        self.run(&mut downstream).await;
                        // ignored: it has ended already, unless the tunnel ran into a limit
                        let _ = downstream.shutdown().await;
                    }
                });
            }
        }
    }

    /// Copies bytes both ways until both ways have ended.
    pub(crate) async fn run(self, downstream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self {
            bytes: _taken,
            upstream,
            mut deadlines,
            end,
        } = self;
        let stream = end.0.clone();
        let worker = stream.connection.worker.worker;
        let stats = stream.settings.manager.stats.clone();
        let stats = stats.shard(worker);
        stats.downstream_cx_upgrades_total.inc();
        stats.downstream_cx_upgrades_active.inc();
        if let Ok(upstream) = meltemi_upstream::upgrade(upstream).await {
            progress::tunnelled(&stream);
            deadlines.route = None;
            deadlines.request = None;
            stream.touch();
            deadlines.changed(&stream);
            let (from_client, to_client) = tokio::io::split(downstream);
            let (from_upstream, to_upstream) = tokio::io::split(upstream);
            let both = async {
                tokio::join!(
                    pump(&stream, Direction::Up, from_client, to_upstream),
                    pump(&stream, Direction::Down, from_upstream, to_client),
                )
            };
            match deadlines.race(&stream, both).await {
                Ok(_) => {}
                Err(Expired::Idle) => {
                    stream.flag(ResponseFlags::STREAM_IDLE_TIMEOUT);
                    stream.explain("stream_idle_timeout");
                }
                Err(_) => stream.explain("max_duration_timeout"),
            }
        }
        stats.downstream_cx_upgrades_active.dec();
        stream.request_ended();
        stream.response_ended();
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// Copies until the end or an error, then ends the other side.
async fn pump(
    stream: &Rc<Stream>,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        stream.touch();
        let counter = match direction {
            Direction::Up => &stream.bytes_received,
            Direction::Down => &stream.bytes_sent,
        };
        counter.set(counter.get() + count as u64);
        if to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}
