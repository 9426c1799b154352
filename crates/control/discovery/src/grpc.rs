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
use meltemi_xds::pb::envoy::service::cluster::v3::cluster_discovery_service_server::ClusterDiscoveryServiceServer;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use meltemi_xds::pb::envoy::service::endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryServiceServer;
use meltemi_xds::pb::envoy::service::listener::v3::listener_discovery_service_server::ListenerDiscoveryServiceServer;
use meltemi_xds::pb::envoy::service::route::v3::route_discovery_service_server::RouteDiscoveryServiceServer;
use meltemi_xds::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
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
        .add_service(ClusterDiscoveryServiceServer::new(ads.clone()))
        .add_service(EndpointDiscoveryServiceServer::new(ads.clone()))
        .add_service(ListenerDiscoveryServiceServer::new(ads.clone()))
        .add_service(RouteDiscoveryServiceServer::new(ads.clone()))
        .add_service(SecretDiscoveryServiceServer::new(ads.clone()))
        .add_service(AggregatedDiscoveryServiceServer::new(ads))
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
