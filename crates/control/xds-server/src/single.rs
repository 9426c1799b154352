//! The discovery services of one kind each.
//!
//! In: streams on which only one kind is asked for, whose requests need not name it. Out: the same
//! sessions as on an aggregated stream. Asking for something once, without a stream, is not served:
//! there would be nobody to send changes to.

use meltemi_xds::pb::envoy::service::cluster::v3::cluster_discovery_service_server::ClusterDiscoveryService;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::envoy::service::endpoint::v3::endpoint_discovery_service_server::EndpointDiscoveryService;
use meltemi_xds::pb::envoy::service::listener::v3::listener_discovery_service_server::ListenerDiscoveryService;
use meltemi_xds::pb::envoy::service::route::v3::route_discovery_service_server::RouteDiscoveryService;
use meltemi_xds::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryService;
use tonic::{Request, Response, Status, Streaming};

use crate::service::ResponseStream;
use crate::{AdsService, Kind};

/// Implements the service of a kind, under the names that its methods have.
macro_rules! serve {
    ($service:ident, $kind:expr, $stream:ident -> $answers:ident, $delta:ident -> $changes:ident, $fetch:ident) => {
        #[tonic::async_trait]
        impl $service for AdsService {
            type $answers = ResponseStream<DiscoveryResponse>;
            type $changes = ResponseStream<DeltaDiscoveryResponse>;

            async fn $stream(
                &self,
                request: Request<Streaming<DiscoveryRequest>>,
            ) -> Result<Response<Self::$answers>, Status> {
                Ok(self.sotw(request, Some($kind)))
            }

            async fn $delta(
                &self,
                request: Request<Streaming<DeltaDiscoveryRequest>>,
            ) -> Result<Response<Self::$changes>, Status> {
                Ok(self.delta(request, Some($kind)))
            }

            async fn $fetch(
                &self,
                _request: Request<DiscoveryRequest>,
            ) -> Result<Response<DiscoveryResponse>, Status> {
                Err(Status::unimplemented(concat!(
                    "resources are served on streams: use ",
                    stringify!($stream)
                )))
            }
        }
    };
}

serve!(ClusterDiscoveryService, Kind::Cluster, stream_clusters -> StreamClustersStream, delta_clusters -> DeltaClustersStream, fetch_clusters);
serve!(EndpointDiscoveryService, Kind::Endpoint, stream_endpoints -> StreamEndpointsStream, delta_endpoints -> DeltaEndpointsStream, fetch_endpoints);
serve!(ListenerDiscoveryService, Kind::Listener, stream_listeners -> StreamListenersStream, delta_listeners -> DeltaListenersStream, fetch_listeners);
serve!(RouteDiscoveryService, Kind::Route, stream_routes -> StreamRoutesStream, delta_routes -> DeltaRoutesStream, fetch_routes);
serve!(SecretDiscoveryService, Kind::Secret, stream_secrets -> StreamSecretsStream, delta_secrets -> DeltaSecretsStream, fetch_secrets);
