//! The streams of a management server.
//!
//! In: HTTP/2 requests. Out: gRPC streams, each with a task that answers. Called by `management`.

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::stand::Stand;
use super::{Said, Shared};

/// A stream of one of the methods.
#[derive(Clone)]
struct Method {
    shared: Arc<Shared>,
    name: String,
    /// What the stream began with, in words.
    opening: String,
}

type Answers<T> = ReceiverStream<Result<T, Status>>;
type Opened<T> = Pin<Box<dyn Future<Output = Result<tonic::Response<Answers<T>>, Status>> + Send>>;

/// Begins a stream.
pub(super) async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let name = request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let authority = request.uri().authority().map_or("", |it| it.as_str());
    let given = request.headers().iter();
    let given = given.filter(|(name, _)| name.as_str().starts_with("initial-"));
    let given: Vec<_> = given
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    let opening = format!("opens at {authority} {given:?}");
    let method = Method {
        shared,
        opening,
        name: name.clone(),
    };
    if name.starts_with("Delta") {
        let codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
        Grpc::new(codec).streaming(method, request).await
    } else {
        let codec = ProstCodec::<DiscoveryResponse, DiscoveryRequest>::default();
        Grpc::new(codec).streaming(method, request).await
    }
}

impl StreamingService<DiscoveryRequest> for Method {
    type Response = DiscoveryResponse;
    type ResponseStream = Answers<DiscoveryResponse>;
    type Future = Opened<DiscoveryResponse>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(self.clone().serve(request.into_inner(), sender));
        Box::pin(async { Ok(tonic::Response::new(ReceiverStream::new(receiver))) })
    }
}

impl StreamingService<DeltaDiscoveryRequest> for Method {
    type Response = DeltaDiscoveryResponse;
    type ResponseStream = Answers<DeltaDiscoveryResponse>;
    type Future = Opened<DeltaDiscoveryResponse>;

    fn call(&mut self, request: tonic::Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(self.clone().serve(request.into_inner(), sender));
        Box::pin(async { Ok(tonic::Response::new(ReceiverStream::new(receiver))) })
    }
}

/// One of the two forms.
trait Form: Sized {
    type Answer;

    fn type_url(&self) -> &str;
    fn nonce(&self) -> &str;
    fn refusal(&self) -> Option<&str>;
    fn take(&self, stand: &mut Stand) -> Option<String>;
    fn answers(
        stand: &mut Stand,
        all: &std::collections::BTreeMap<String, super::Answer>,
    ) -> Vec<(String, Self::Answer)>;
}

impl Form for DiscoveryRequest {
    type Answer = DiscoveryResponse;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn nonce(&self) -> &str {
        &self.response_nonce
    }

    fn refusal(&self) -> Option<&str> {
        self.error_detail.as_ref().map(|it| it.message.as_str())
    }

    fn take(&self, stand: &mut Stand) -> Option<String> {
        stand.receive(self)
    }

    fn answers(
        stand: &mut Stand,
        all: &std::collections::BTreeMap<String, super::Answer>,
    ) -> Vec<(String, Self::Answer)> {
        let answers = stand.answers(all).into_iter();
        answers.map(|it| (it.nonce.clone(), it)).collect()
    }
}

impl Form for DeltaDiscoveryRequest {
    type Answer = DeltaDiscoveryResponse;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn nonce(&self) -> &str {
        &self.response_nonce
    }

    fn refusal(&self) -> Option<&str> {
        self.error_detail.as_ref().map(|it| it.message.as_str())
    }

    fn take(&self, stand: &mut Stand) -> Option<String> {
        Some(stand.receive_delta(self))
    }

    fn answers(
        stand: &mut Stand,
        all: &std::collections::BTreeMap<String, super::Answer>,
    ) -> Vec<(String, Self::Answer)> {
        let answers = stand.delta_answers(all).into_iter();
        answers.map(|it| (it.nonce.clone(), it)).collect()
    }
}

impl Method {
    async fn serve<Q: Form>(
        self,
        mut requests: Streaming<Q>,
        sender: mpsc::Sender<Result<Q::Answer, Status>>,
    ) {
        let mut stand = Stand::default();
        let mut changes = self.shared.changed.subscribe();
        let number = {
            let mut state = self.shared.state();
            state.streams += 1;
            state.streams
        };
        let mut opening = Some(self.opening.clone());
        'stream: loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.receive(number, &mut stand, &request, &mut opening),
                    Ok(None) | Err(_) => break,
                },
                changed = changes.changed() => if changed.is_err() {
                    break;
                },
            }
            for answer in self.due::<Q>(number, &mut stand) {
                if sender.send(Ok(answer)).await.is_err() {
                    break 'stream;
                }
            }
            self.shared.progress.send_replace(());
        }
        let mut state = self.shared.state();
        state.served.remove(&number);
        state.has.remove(&number);
        state.outstanding.retain(|(stream, _)| *stream != number);
        drop(state);
        self.shared.progress.send_replace(());
    }

    fn receive<Q: Form>(
        &self,
        number: u64,
        stand: &mut Stand,
        request: &Q,
        opening: &mut Option<String>,
    ) {
        let mut state = self.shared.state();
        let answered = (number, request.nonce().to_owned());
        let answers = state.outstanding.remove(&answered);
        let verdict = match request.refusal() {
            None => Ok(()),
            Some(reason) => Err(reason.to_owned()),
        };
        let mut say = |what, verdict| {
            state.log.push(Said {
                method: self.name.clone(),
                type_url: request.type_url().to_owned(),
                what,
                verdict,
            });
        };
        if let Some(opening) = opening.take() {
            say(opening, None);
        }
        if let Some(what) = request.take(stand) {
            say(what, answers.then_some(verdict));
        }
    }

    fn due<Q: Form>(&self, number: u64, stand: &mut Stand) -> Vec<Q::Answer> {
        let mut state = self.shared.state();
        let answers = Q::answers(stand, &state.answers);
        for (nonce, _) in &answers {
            state.outstanding.insert((number, nonce.clone()));
        }
        let generation = state.generation;
        state.served.insert(number, generation);
        let has = stand.has(&state.answers);
        state.has.insert(number, has);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}
