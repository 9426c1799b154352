//! Streams of one kind each, and how many may begin.

use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_xds::pb::envoy::service::endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient;
use meltemi_xds_server::Kind;
use tokio::time::timeout;
use tonic::Code;

use crate::client::{Delta, plaintext, sidecar};
use crate::harness::{LIMIT, Plane, SERVICES};

const CLUSTER: &str = "outbound|80||catalog.shop.svc.cluster.local";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_kind_need_not_name_it_and_may_not_name_another() {
    let plane = Plane::start(&[("shop.yaml", SERVICES)]).await;
    let node = sidecar("client", "shop", "client");
    let first = DeltaDiscoveryRequest {
        node: Some(node.clone()),
        ..Default::default()
    };
    let other = DeltaDiscoveryRequest {
        type_url: Kind::Route.type_url(),
        ..first.clone()
    };
    let mut client = ClusterDiscoveryServiceClient::new(plaintext(&plane).await);
    let requests = tokio_stream::iter([first]);
    let answers = client.delta_clusters(requests).await.unwrap();
    let message = timeout(LIMIT, answers.into_inner().message())
        .await
        .unwrap();
    let message = message.unwrap().unwrap();
    assert_eq!(message.type_url, Kind::Cluster.type_url());
    assert!(message.resources.iter().any(|it| it.name == CLUSTER));

    let answers = client.delta_clusters(tokio_stream::iter([other])).await;
    let message = timeout(LIMIT, answers.unwrap().into_inner().message()).await;
    assert_eq!(message.unwrap().unwrap_err().code(), Code::InvalidArgument);

    let request = DiscoveryRequest {
        node: Some(node),
        resource_names: vec![CLUSTER.to_owned()],
        ..Default::default()
    };
    let mut client = EndpointDiscoveryServiceClient::new(plaintext(&plane).await);
    let fetched = client.fetch_endpoints(request.clone()).await;
    assert_eq!(fetched.unwrap_err().code(), Code::Unimplemented);
    let answers = client.stream_endpoints(tokio_stream::iter([request])).await;
    let message = timeout(LIMIT, answers.unwrap().into_inner().message()).await;
    let message = message.unwrap().unwrap().unwrap();
    let endpoints: ClusterLoadAssignment = meltemi_xds::any::unpack(&message.resources[0]).unwrap();
    assert_eq!(endpoints.cluster_name, CLUSTER);
    assert_eq!(endpoints.endpoints.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_too_many_do_is_told_to_come_back() {
    let plane = Plane::with(&[("shop.yaml", SERVICES)], |options| {
        options.streams_per_second = Some(0.01);
    });
    let plane = plane.await.unwrap();
    let node = sidecar("client", "shop", "client");
    let mut first = Delta::open(plaintext(&plane).await, node.clone(), None).await;
    first.subscribe(Kind::Cluster, &[]).await;
    first.take(Kind::Cluster).await;
    let mut second = Delta::open(plaintext(&plane).await, node, None).await;
    let refusal = second.next().await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
}
