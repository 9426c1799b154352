//! The mesh's trust bundle, from the control plane.
//!
//! In: a stream of Istio's PCDS (`istio.mesh.v1alpha1.ProxyConfig` over aggregated discovery). Out:
//! bundles for `identity`, and a confirmation for each, sent only when it is trusted here and the
//! workload has a certificate of the root that signs. The control plane replaces a root by these
//! confirmations.

use std::path::PathBuf;
use std::time::Duration;

use meltemi_lifecycle::Random;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use meltemi_xds::pb::google::rpc;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
use meltemi_xds_client::Connector;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::{debug, warn};

use crate::chain::check_bundle;
use crate::identity::{TrustUpdate, channel, innermost};

/// The first delay after a stream has ended; it doubles with each that was of no use.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest delay.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// google.rpc.Code.INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;

/// Takes trust bundles.
pub(crate) struct TrustClient {
    pub connector: Connector,
    pub token: PathBuf,
    pub node: Node,
    pub updates: mpsc::Sender<TrustUpdate>,
}

/// An answer that is not confirmed yet.
struct Pending {
    response: DiscoveryResponse,
    done: oneshot::Receiver<()>,
}

impl TrustClient {
    /// Takes bundles for ever.
    pub async fn run(self, random: Random) {
        let mut failures = 0_u32;
        loop {
            let mut useful = false;
            let reason = match self.stream(&mut useful).await {
                Ok(()) => "it has ended".to_owned(),
                Err(reason) => reason,
            };
            failures = if useful {
                0
            } else {
                failures.saturating_add(1)
            };
            let ceiling = FIRST_RETRY
                .saturating_mul(1 << failures.min(7))
                .min(LAST_RETRY);
            let wait = ceiling.mul_f64(0.5 + random.unit() / 2.0);
            match useful {
                true => debug!(retry_in = ?wait, "the stream of trust bundles: {reason}"),
                false => warn!(retry_in = ?wait, "no trust bundles: {reason}"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// One stream, until it ends.
    async fn stream(&self, useful: &mut bool) -> Result<(), String> {
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| format!("{}: {error}", self.token.display()))?;
        let channel = channel(&self.connector)
            .await
            .map_err(|error| innermost(&error))?;
        let (sender, receiver) = mpsc::channel(4);
        let first = DiscoveryRequest {
            node: Some(self.node.clone()),
            ..request()
        };
        let ended = |_| "the stream has ended".to_owned();
        sender.send(first).await.map_err(ended)?;
        let mut asking = tonic::Request::new(ReceiverStream::new(receiver));
        let value = format!("Bearer {}", token.trim()).parse();
        let value = value.map_err(|_| "the token is not a header value".to_owned())?;
        asking.metadata_mut().insert("authorization", value);
        let answers = AggregatedDiscoveryServiceClient::new(channel)
            .stream_aggregated_resources(asking)
            .await
            .map_err(|status| status.message().to_owned())?;
        *useful = true;
        self.converse(answers.into_inner(), &sender).await
    }

    async fn converse(
        &self,
        mut answers: Streaming<DiscoveryResponse>,
        sender: &mpsc::Sender<DiscoveryRequest>,
    ) -> Result<(), String> {
        let ended = |_| "the stream has ended".to_owned();
        let mut pending: Option<Pending> = None;
        loop {
            let confirmed = async {
                match &mut pending {
                    Some(it) => (&mut it.done).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer.map_err(|status| status.message().to_owned())?;
                    let Some(response) = answer else {
                        return Ok(());
                    };
                    // A newer bundle takes the place of one that was still to be confirmed.
                    match bundle(&response) {
                        Ok(bundle) => pending = Some(self.pass_on(response, bundle).await?),
                        Err(reason) => {
                            warn!("a trust bundle is refused: {reason}");
                            sender.send(refusal(&response, reason)).await.map_err(ended)?;
                        }
                    }
                }
                confirmed = confirmed => if let Some(Pending { response, .. }) = pending.take() && confirmed {
                    sender.send(confirmation(&response)).await.map_err(ended)?;
                }
            }
        }
    }

    async fn pass_on(
        &self,
        response: DiscoveryResponse,
        bundle: Vec<String>,
    ) -> Result<Pending, String> {
        let (done, waiting) = oneshot::channel();
        let update = TrustUpdate { bundle, done };
        let sent = self.updates.send(update).await;
        sent.map_err(|_| "nobody takes bundles any more".to_owned())?;
        Ok(Pending {
            response,
            done: waiting,
        })
    }
}

fn request() -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: meltemi_xds::type_url::<ProxyConfig>(),
        ..DiscoveryRequest::default()
    }
}

fn confirmation(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..request()
    }
}

fn refusal(response: &DiscoveryResponse, reason: String) -> DiscoveryRequest {
    DiscoveryRequest {
        response_nonce: response.nonce.clone(),
        error_detail: Some(rpc::Status {
            code: INVALID_ARGUMENT,
            message: reason,
            ..rpc::Status::default()
        }),
        ..request()
    }
}

/// The bundle that an answer holds.
fn bundle(response: &DiscoveryResponse) -> Result<Vec<String>, String> {
    let body = response.resources.first();
    let body = body.ok_or_else(|| "the answer holds no resource".to_owned())?;
    let config: ProxyConfig = any::unpack(body).map_err(|error| error.to_string())?;
    check_bundle(&config.ca_certificates_pem)?;
    Ok(config.ca_certificates_pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bundle_is_refused_with_its_place() {
        let answer = |pem: &[&str]| DiscoveryResponse {
            resources: vec![any::pack(&ProxyConfig {
                ca_certificates_pem: pem.iter().map(|it| (*it).to_owned()).collect(),
            })],
            ..DiscoveryResponse::default()
        };
        let key = rcgen::KeyPair::generate().expect("a key");
        let root = rcgen::CertificateParams::default().self_signed(&key);
        let root = root.expect("a root").pem();
        assert_eq!(bundle(&answer(&[&root])), Ok(vec![root.clone()]));
        for (pem, reason) in [
            (vec![], "the bundle is empty"),
            (
                vec![root.as_str(), "x"],
                "ca_certificates_pem[1]: not a certificate",
            ),
        ] {
            let refused = bundle(&answer(&pem)).expect_err("no bundle");
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(bundle(&DiscoveryResponse::default()).is_err());
    }
}
