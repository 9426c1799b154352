//! The discovery services over gRPC: which method is which stream, and how answers are framed.
//!
//! In: requests to the methods of the aggregated service and of those of one kind each. Out: streams,
//! served by [`AdsService`]. An answer is encoded into a buffer of just its size, which is gone once it
//! is written. tonic's framing keeps one buffer for each stream, as large as its largest answer; with
//! thousands of proxies that was half of what the control plane held.
//!
//! Asking for something once, without a stream (`Fetch…`), is not served: there would be nobody to send
//! changes to.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body::Frame;
use meltemi_xds::pb::envoy::service::cluster::v3::cluster_discovery_service_server as cluster;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server as aggregated;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_xds::pb::envoy::service::endpoint::v3::endpoint_discovery_service_server as endpoint;
use meltemi_xds::pb::envoy::service::extension::v3::extension_config_discovery_service_server as extension;
use meltemi_xds::pb::envoy::service::listener::v3::listener_discovery_service_server as listener;
use meltemi_xds::pb::envoy::service::route::v3::route_discovery_service_server as route;
use meltemi_xds::pb::envoy::service::secret::v3::secret_discovery_service_server as secret;
use prost::Message;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Streaming};
use tonic::service::Routes;
use tonic::{Request, Status};
use tonic_prost::ProstDecoder;
use tower_service::Service;

use crate::{AdsService, Form, Kind, Outgoing};

/// Requests are small, and there is a buffer for each stream.
const REQUEST_BUFFER: usize = 1024;

/// The services, what their methods are about, and the kind that is asked for.
const SERVICES: [(&str, &str, Option<Kind>); 7] = [
    (aggregated::SERVICE_NAME, "AggregatedResources", None),
    (cluster::SERVICE_NAME, "Clusters", Some(Kind::Cluster)),
    (endpoint::SERVICE_NAME, "Endpoints", Some(Kind::Endpoint)),
    (
        extension::SERVICE_NAME,
        "ExtensionConfigs",
        Some(Kind::Extension),
    ),
    (listener::SERVICE_NAME, "Listeners", Some(Kind::Listener)),
    (route::SERVICE_NAME, "Routes", Some(Kind::Route)),
    (secret::SERVICE_NAME, "Secrets", Some(Kind::Secret)),
];

/// A frame of an answer, or why the stream ends.
pub(crate) type Answer = Result<Bytes, Status>;

/// One method of a discovery service.
#[derive(Clone)]
struct Method {
    ads: AdsService,
    /// `None` for a method without a stream.
    form: Option<Form>,
    only: Option<Kind>,
}

impl AdsService {
    /// The methods, by their paths.
    pub fn routes(&self) -> Routes {
        let mut router = Routes::default().into_axum_router();
        for (service, about, only) in SERVICES {
            for (verb, form) in [
                ("Stream", Some(Form::Sotw)),
                ("Delta", Some(Form::Delta)),
                ("Fetch", None),
            ] {
                let ads = self.clone();
                let method = Method { ads, form, only };
                router = router.route_service(&format!("/{service}/{verb}{about}"), method);
            }
        }
        router.into()
    }
}

impl<B> Service<http::Request<B>> for Method
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let encoding = request.headers().get("grpc-encoding");
        if encoding.is_some_and(|it| it != "identity") {
            let status = Status::unimplemented("requests are not taken compressed");
            return ready(Ok(status.into_http()));
        }
        ready(Ok(match self.form {
            Some(Form::Sotw) => {
                let requests = requests::<DiscoveryRequest, B>(request);
                response(self.ads.sotw(requests, self.only))
            }
            Some(Form::Delta) => {
                let requests = requests::<DeltaDiscoveryRequest, B>(request);
                response(self.ads.delta(requests, self.only))
            }
            None => {
                let status = Status::unimplemented(
                    "resources are served on streams: use the method whose name begins with Stream or Delta",
                );
                status.into_http()
            }
        }))
    }
}

fn requests<Q, B>(request: http::Request<B>) -> Request<Streaming<Q>>
where
    Q: Message + Default + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let settings = BufferSettings::new(REQUEST_BUFFER, REQUEST_BUFFER);
    Request::from_http(request.map(|body| {
        let decoder = ProstDecoder::<Q>::new(settings);
        Streaming::new_request(decoder, body, None, None)
    }))
}

fn response(answers: mpsc::Receiver<Answer>) -> http::Response<Body> {
    let mut response = http::Response::new(Body::new(Answers(Some(answers))));
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// A message with its prefix, as gRPC frames it: no compression, four bytes of length.
pub(crate) fn frame(message: &Outgoing) -> Answer {
    let length = message.encoded_len();
    let prefix = u32::try_from(length);
    let prefix = prefix.map_err(|_| Status::resource_exhausted("an answer of more than 4 GiB"))?;
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(prefix);
    message.encode(&mut frame);
    Ok(frame.freeze())
}

/// The body of a response: answers, and at last the status. `None` once the status is sent.
struct Answers(Option<mpsc::Receiver<Answer>>);

impl http_body::Body for Answers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(answers) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let status = match answers.poll_recv(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Poll::Ready(Some(Err(status))) => status,
            Poll::Ready(None) => Status::ok(""),
        };
        self.0 = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }
}
