//! Copies of requests that go to other clusters, whose answers nobody reads.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use meltemi_ir as ir;
use meltemi_upstream::{
    BodyError, Called, HttpOptions, HttpVersion, LbContext, UpstreamBody, WorkerCluster,
};
use tokio::sync::mpsc;

use crate::head::RequestHead;
use crate::headers::client_cert::append;
use crate::headers::names;
use crate::request_body::RequestSource;
use crate::route::{MirrorPlan, port_of, without_port};
use crate::stream::Stream;

/// A body that is fed as the original's passes.
struct Copy(mpsc::UnboundedReceiver<Frame<Bytes>>);

/// Sends copies of a request where its route wants them to go. `limit` is how much of a body may
/// wait for a slow cluster.
pub(super) fn start(
    stream: &Rc<Stream>,
    plans: &[MirrorPlan],
    head: &RequestHead,
    body: &mut RequestSource,
    timeout: Option<Duration>,
) {
    for plan in plans {
        let config = &plan.config;
        if stream.random % 1_000_000 >= u64::from(config.per_million) {
            continue;
        }
        let name = match &config.cluster {
            ir::ClusterName::Named(name) => Some(&**name),
            ir::ClusterName::Header(name) => {
                let value = head.headers.get(name);
                value.and_then(|value| value.to_str().ok())
            }
        };
        let worker = &stream.connection.worker;
        let Some(cluster) = name.and_then(|name| worker.pools.cluster(name)) else {
            continue;
        };
        let mut copy = head.clone();
        copy.upgrade = None;
        disguise(stream, plan, &mut copy);
        let copied = if body.is_end() {
            UpstreamBody::Empty
        } else {
            let (sender, receiver) = mpsc::unbounded_channel();
            let mut sender = Some(sender);
            body.copy_to(Box::new(move |frame| match frame {
                Some(frame) => {
                    let copy = match (frame.data_ref(), frame.trailers_ref()) {
                        (Some(data), _) => Frame::data(data.clone()),
                        (None, Some(trailers)) => Frame::trailers(trailers.clone()),
                        (None, None) => return,
                    };
                    let sent = sender
                        .as_ref()
                        .is_some_and(|sender| sender.send(copy).is_ok());
                    if !sent {
                        sender = None;
                    }
                }
                None => sender = None,
            }));
            UpstreamBody::Boxed(Box::pin(Copy(receiver)))
        };
        let local = stream.connection.info.original_destination();
        let downstream = if stream.is_http2() {
            HttpVersion::Http2
        } else {
            HttpVersion::Http1
        };
        let alpn = stream.facts.borrow().notes.alpn.clone();
        tokio::task::spawn_local(async move {
            let sent = send(&cluster, copy, copied, local, downstream, alpn);
            match timeout {
                Some(limit) => drop(tokio::time::timeout(limit, sent).await),
                None => sent.await,
            }
        });
    }
}

/// Makes the head that of a copy.
fn disguise(stream: &Rc<Stream>, plan: &MirrorPlan, head: &mut RequestHead) {
    stream.mutate(&plan.headers, head);
    let config = &plan.config;
    let host = match &config.host {
        Some(host) => host.clone(),
        None if config.keep_host => head.authority().to_owned(),
        None => match port_of(head.authority()) {
            Some(port) => format!("{}-shadow:{port}", without_port(head.authority())),
            None => format!("{}-shadow", head.authority()),
        },
    };
    if let Ok(host) = HeaderValue::from_str(&host) {
        head.set_authority(host);
    }
    head.headers.insert(names::INTERNAL, names::TRUE);
    if let Some(ip) = stream.connection.worker.local_ip {
        let ip = ip.to_string();
        append(
            &mut head.headers,
            &names::X_FORWARDED_FOR,
            ip.as_bytes(),
            b",",
        );
    }
}

async fn send(
    cluster: &Rc<WorkerCluster>,
    head: RequestHead,
    body: UpstreamBody,
    local: Option<std::net::SocketAddr>,
    downstream: HttpVersion,
    alpn: Option<Arc<ir::AlpnOverride>>,
) {
    let host = cluster.choose(&LbContext {
        original_destination: local,
        headers: Some(&head.headers),
        max_attempts: 1,
        ..LbContext::default()
    });
    let Some(host) = host else {
        cluster.stats().upstream_cx_none_healthy.inc();
        return;
    };
    let from = &cluster.config().http.from_request;
    let called = Called::of(from, head.authority.as_bytes(), &head.headers);
    let options = HttpOptions {
        downstream,
        priority: ir::Priority::Default,
        alpn: alpn.as_deref(),
        called: called.as_ref(),
        proxied: None,
    };
    let Ok(lease) = cluster.http(&host, options).await else {
        host.record_response(false);
        return;
    };
    let Some(request) = head.into_request(lease.version(), body) else {
        return;
    };
    let Ok(response) = lease.send(request).await else {
        host.record_response(false);
        return;
    };
    let status = response.status();
    host.record_response(!status.is_server_error());
    cluster.stats().count_response(status.as_u16(), true);
    let mut body = response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

impl Body for Copy {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
