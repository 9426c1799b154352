//! The mesh's trust bundle, from the control plane.
//!
//! In: a stream of Istio's PCDS (`istio.mesh.v1alpha1.ProxyConfig` over aggregated discovery). Out:
//! bundles for `identity`, and a confirmation for each, sent only when it is trusted here and the
//! workload has a certificate of the root that signs. The control plane replaces a root by these
//! confirmations.

use std::convert::Infallible;

use meltemi_lifecycle::Random;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::chain::check_bundle;
use crate::identity::TrustUpdate;
use crate::stream::{Attempts, Stream, StreamSource};

/// Takes trust bundles.
pub(crate) struct TrustClient {
    pub source: StreamSource,
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
        let mut attempts = Attempts::new("trust bundles", random);
        loop {
            let (useful, reason) = match self.source.open::<ProxyConfig>().await {
                Ok(stream) => (true, self.converse(stream).await),
                Err(reason) => (false, reason),
            };
            attempts.pause(useful, &reason).await;
        }
    }

    /// One stream, until it ends; why it did.
    async fn converse(&self, mut stream: Stream) -> String {
        match self.take(&mut stream).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    async fn take(&self, stream: &mut Stream) -> Result<Infallible, String> {
        let mut pending: Option<Pending> = None;
        loop {
            let confirmed = async {
                match &mut pending {
                    Some(it) => (&mut it.done).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = stream.next() => {
                    let response = answer?;
                    // A newer bundle takes the place of one that was still to be confirmed.
                    match bundle(&response) {
                        Ok(bundle) => pending = Some(self.pass_on(response, bundle).await?),
                        Err(reason) => {
                            warn!("a trust bundle is refused: {reason}");
                            stream.refuse(&response, reason).await?;
                        }
                    }
                }
                confirmed = confirmed => if let Some(Pending { response, .. }) = pending.take() && confirmed {
                    stream.confirm(&response).await?;
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
