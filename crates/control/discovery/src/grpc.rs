//! xDS and certificates over gRPC.
//!
//! In: connections, plain or TLS. Out: the aggregated discovery service and those of one kind each on
//! both, the CSR service on TLS only. Called by [`crate::control_plane`].

pub(crate) mod accept;
pub(crate) mod certificate;
mod connection;

use std::time::Duration;

use meltemi_ca::{CsrService, PeerIdentities};
use meltemi_lifecycle::DrainSignal;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use meltemi_xds_server::{AdsService, Caller};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::DiscoveryError;
pub(crate) use connection::Incoming;

/// A connection on which nothing comes is asked for a sign of life after this long.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// And given up after this long without one.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves xDS, and certificates if there is a service for them, until the drain; then until the
/// streams have ended.
pub(crate) async fn serve(
    purpose: &'static str,
    incoming: Incoming,
    ads: AdsService,
    csr: Option<CsrService>,
    mut drain: DrainSignal,
) -> Result<(), DiscoveryError> {
    let csr = csr.map(|csr| {
        IstioCertificateServiceServer::with_interceptor(csr, |mut request: tonic::Request<()>| {
            let caller = request.extensions().get::<Caller>().cloned();
            let identities = caller.unwrap_or_default().identities;
            request.extensions_mut().insert(PeerIdentities(identities));
            Ok(request)
        })
    });
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(ads.routes())
        .add_optional_service(csr)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
            drain.draining().await;
        })
        .await
        .map_err(|error| DiscoveryError::Ended {
            server: purpose,
            reason: error.to_string(),
        })
}
