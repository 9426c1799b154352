//! Streams on which the control plane tells an agent something of its own (aggregated discovery, in the
//! state-of-the-world form).
//!
//! In: where the control plane is, and a type. Out: [`Stream`], its answers, and the agent's
//! confirmations. Called by `trust`, `names`, `patches` and `health`.

use std::path::PathBuf;
use std::time::Duration;

use meltemi_lifecycle::Random;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use meltemi_xds::pb::google::rpc;
use meltemi_xds_client::Connector;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{debug, warn};

use crate::identity::{channel, innermost};

/// The first delay after a stream has ended; it doubles with each that was of no use.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest delay.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// google.rpc.Code.INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;

/// Where streams come from.
#[derive(Clone)]
pub(crate) struct StreamSource {
    pub connector: Connector,
    /// The file with the token, read for each stream.
    pub token: PathBuf,
    pub node: Node,
}

/// A stream of one type.
pub(crate) struct Stream {
    type_url: String,
    requests: mpsc::Sender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
}

/// How often streams have failed.
pub(crate) struct Attempts {
    what: &'static str,
    random: Random,
    failures: u32,
}

impl StreamSource {
    /// Opens a stream and asks for what there is of a type.
    pub async fn open<M: prost::Name>(&self) -> Result<Stream, String> {
        let (requests, receiver) = mpsc::channel(4);
        let type_url = meltemi_xds::type_url::<M>();
        let first = DiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: type_url.clone(),
            ..DiscoveryRequest::default()
        };
        requests.send(first).await.map_err(|_| ended())?;
        Ok(Stream {
            type_url,
            requests,
            answers: self.call(receiver).await?,
        })
    }

    /// Opens a stream of these requests.
    pub async fn call(
        &self,
        requests: mpsc::Receiver<DiscoveryRequest>,
    ) -> Result<Streaming<DiscoveryResponse>, String> {
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| format!("{}: {error}", self.token.display()))?;
        let channel = channel(&self.connector)
            .await
            .map_err(|error| innermost(&error))?;
        let mut asking = tonic::Request::new(ReceiverStream::new(requests));
        let value = format!("Bearer {}", token.trim()).parse();
        let value = value.map_err(|_| "the token is not a header value".to_owned())?;
        asking.metadata_mut().insert("authorization", value);
        let answers = AggregatedDiscoveryServiceClient::new(channel)
            .stream_aggregated_resources(asking)
            .await
            .map_err(|status| status.message().to_owned())?;
        Ok(answers.into_inner())
    }
}

impl Stream {
    /// The next answer.
    pub async fn next(&mut self) -> Result<DiscoveryResponse, String> {
        let answer = self.answers.message().await;
        let answer = answer.map_err(|status| status.message().to_owned())?;
        answer.ok_or_else(ended)
    }

    /// An answer is taken.
    pub async fn confirm(&self, answer: &DiscoveryResponse) -> Result<(), String> {
        self.say(DiscoveryRequest {
            version_info: answer.version_info.clone(),
            response_nonce: answer.nonce.clone(),
            ..DiscoveryRequest::default()
        })
        .await
    }

    /// An answer is not taken.
    pub async fn refuse(&self, answer: &DiscoveryResponse, reason: String) -> Result<(), String> {
        self.say(DiscoveryRequest {
            response_nonce: answer.nonce.clone(),
            error_detail: Some(rpc::Status {
                code: INVALID_ARGUMENT,
                message: reason,
                ..rpc::Status::default()
            }),
            ..DiscoveryRequest::default()
        })
        .await
    }

    async fn say(&self, request: DiscoveryRequest) -> Result<(), String> {
        let type_url = self.type_url.clone();
        let sent = self.requests.send(DiscoveryRequest {
            type_url,
            ..request
        });
        sent.await.map_err(|_| ended())
    }
}

impl Attempts {
    /// None has failed; `what` the streams are for.
    pub fn new(what: &'static str, random: Random) -> Self {
        Self {
            what,
            random,
            failures: 0,
        }
    }

    /// A stream has ended, or never began (`reason`): waits until it is time for another.
    pub async fn pause(&mut self, useful: bool, reason: &str) {
        self.failures = match useful {
            true => 0,
            false => self.failures.saturating_add(1),
        };
        let ceiling = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(7))
            .min(LAST_RETRY);
        let wait = ceiling.mul_f64(0.5 + self.random.unit() / 2.0);
        match useful {
            true => debug!(retry_in = ?wait, "the stream of {}: {reason}", self.what),
            false => warn!(retry_in = ?wait, "no {}: {reason}", self.what),
        }
        tokio::time::sleep(wait).await;
    }
}

fn ended() -> String {
    "the stream has ended".to_owned()
}
