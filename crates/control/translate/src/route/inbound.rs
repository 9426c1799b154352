//! The routes of an inbound port.
//!
//! In: the cluster that leads to the application. Out: a table with one route, in place.

use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
};

use super::matching::everything;
use super::{decorator, retry, timeout};
use crate::name::host_port;
use crate::scope::InboundPort;

/// The table of a port, or of those that no service names.
pub(crate) fn inbound_routes(cluster: &str, port: Option<&InboundPort<'_>>) -> RouteConfiguration {
    let (host, port) = port.map_or(("", 0), |it| (it.host(), it.service_port()));
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        retry_policy: Some(retry::inbound()),
        ..Default::default()
    };
    timeout::unlimited(&mut action);
    RouteConfiguration {
        name: cluster.to_owned(),
        validate_clusters: Some(false),
        max_direct_response_body_size_bytes: None,
        virtual_hosts: vec![VirtualHost {
            name: format!("inbound|http|{port}"),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                name: "default".to_owned(),
                r#match: Some(everything()),
                decorator: Some(decorator(format!("{}/*", host_port(host, port)))),
                action: Some(route::Action::Route(action)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}
