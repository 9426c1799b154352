//! Every service of the descriptor set has a client and a server.

use std::collections::BTreeSet;

use meltemi_xds::{pb, pool};
use tonic::transport::Channel;

/// The service name that the server module carries, once the client's type was named too.
macro_rules! service {
    ($($package:ident)::+, $client:ident :: $client_type:ident, $server:ident) => {{
        let _client = pb::$($package)::+::$client::$client_type::<Channel>::new;
        pb::$($package)::+::$server::SERVICE_NAME
    }};
}

#[test]
fn every_service_has_a_client_and_a_server() {
    let generated = BTreeSet::from([
        service!(
            envoy::service::accesslog::v3,
            access_log_service_client::AccessLogServiceClient,
            access_log_service_server
        ),
        service!(
            envoy::service::auth::v3,
            authorization_client::AuthorizationClient,
            authorization_server
        ),
        service!(
            envoy::service::cluster::v3,
            cluster_discovery_service_client::ClusterDiscoveryServiceClient,
            cluster_discovery_service_server
        ),
        service!(
            envoy::service::discovery::v3,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            aggregated_discovery_service_server
        ),
        service!(
            envoy::service::endpoint::v3,
            endpoint_discovery_service_client::EndpointDiscoveryServiceClient,
            endpoint_discovery_service_server
        ),
        service!(
            envoy::service::endpoint::v3,
            locality_endpoint_discovery_service_client::LocalityEndpointDiscoveryServiceClient,
            locality_endpoint_discovery_service_server
        ),
        service!(
            envoy::service::event_reporting::v3,
            event_reporting_service_client::EventReportingServiceClient,
            event_reporting_service_server
        ),
        service!(
            envoy::service::ext_proc::v3,
            external_processor_client::ExternalProcessorClient,
            external_processor_server
        ),
        service!(
            envoy::service::extension::v3,
            extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient,
            extension_config_discovery_service_server
        ),
        service!(
            envoy::service::health::v3,
            health_discovery_service_client::HealthDiscoveryServiceClient,
            health_discovery_service_server
        ),
        service!(
            envoy::service::listener::v3,
            listener_discovery_service_client::ListenerDiscoveryServiceClient,
            listener_discovery_service_server
        ),
        service!(
            envoy::service::load_stats::v3,
            load_reporting_service_client::LoadReportingServiceClient,
            load_reporting_service_server
        ),
        service!(
            envoy::service::metrics::v3,
            metrics_service_client::MetricsServiceClient,
            metrics_service_server
        ),
        service!(
            envoy::service::network_ext_proc::v3,
            network_external_processor_client::NetworkExternalProcessorClient,
            network_external_processor_server
        ),
        service!(
            envoy::service::rate_limit_quota::v3,
            rate_limit_quota_service_client::RateLimitQuotaServiceClient,
            rate_limit_quota_service_server
        ),
        service!(
            envoy::service::ratelimit::v3,
            rate_limit_service_client::RateLimitServiceClient,
            rate_limit_service_server
        ),
        service!(
            envoy::service::redis_auth::v3,
            redis_proxy_external_auth_client::RedisProxyExternalAuthClient,
            redis_proxy_external_auth_server
        ),
        service!(
            envoy::service::route::v3,
            route_discovery_service_client::RouteDiscoveryServiceClient,
            route_discovery_service_server
        ),
        service!(
            envoy::service::route::v3,
            scoped_routes_discovery_service_client::ScopedRoutesDiscoveryServiceClient,
            scoped_routes_discovery_service_server
        ),
        service!(
            envoy::service::route::v3,
            virtual_host_discovery_service_client::VirtualHostDiscoveryServiceClient,
            virtual_host_discovery_service_server
        ),
        service!(
            envoy::service::runtime::v3,
            runtime_discovery_service_client::RuntimeDiscoveryServiceClient,
            runtime_discovery_service_server
        ),
        service!(
            envoy::service::secret::v3,
            secret_discovery_service_client::SecretDiscoveryServiceClient,
            secret_discovery_service_server
        ),
        service!(
            envoy::service::status::v3,
            client_status_discovery_service_client::ClientStatusDiscoveryServiceClient,
            client_status_discovery_service_server
        ),
        service!(
            envoy::service::tap::v3,
            tap_sink_service_client::TapSinkServiceClient,
            tap_sink_service_server
        ),
        service!(
            istio::v1::auth,
            istio_certificate_service_client::IstioCertificateServiceClient,
            istio_certificate_service_server
        ),
        service!(
            opentelemetry::proto::collector::logs::v1,
            logs_service_client::LogsServiceClient,
            logs_service_server
        ),
        service!(
            opentelemetry::proto::collector::metrics::v1,
            metrics_service_client::MetricsServiceClient,
            metrics_service_server
        ),
        service!(
            opentelemetry::proto::collector::trace::v1,
            trace_service_client::TraceServiceClient,
            trace_service_server
        ),
        service!(
            ratelimit::service::ratelimit::v3,
            rate_limit_config_discovery_service_client::RateLimitConfigDiscoveryServiceClient,
            rate_limit_config_discovery_service_server
        ),
        service!(
            xds::service::orca::v3,
            open_rca_service_client::OpenRcaServiceClient,
            open_rca_service_server
        ),
    ]);
    let pool = pool();
    let described = pool
        .services()
        .map(|service| service.full_name().to_owned());
    let generated: Vec<String> = generated.into_iter().map(str::to_owned).collect();
    assert_eq!(
        generated,
        described
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn istios_own_messages_are_there() {
    let names = [
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "io.istio.http.peer_metadata.Config",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "istio.networking.nds.v1.NameTable",
        "stats.PluginConfig",
        // What the newer of the two sources lacks and the older has.
        "udpa.type.v1.TypedStruct",
        "xds.type.matcher.v3.CelMatcher",
        "xds.type.matcher.v3.IPMatcher",
        "xds.type.matcher.v3.ServerNameMatcher",
        "xds.type.v3.TypedStruct",
    ];
    for name in names {
        assert!(pool().get_message_by_name(name).is_some(), "{name}");
    }
}

#[test]
fn options_survive() {
    let field = pool().get_message_by_name("envoy.config.cluster.v3.Cluster");
    let field = field.and_then(|cluster| cluster.get_field_by_name("connect_timeout"));
    let rules = pool().get_extension_by_name("validate.rules");
    let (Some(field), Some(rules)) = (field, rules) else {
        panic!("the field or the extension is missing");
    };
    assert!(field.options().has_extension(&rules));
}
