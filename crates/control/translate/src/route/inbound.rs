//! The routes of an inbound port.
//!
//! In: the cluster that leads to the application. Out: a table with one route, in place.

use meltemi_snapshot::ServiceTarget;
use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
};

use super::matching::everything;
use super::{decorator, retry, timeout};
use crate::name::host_port;

/// The table of a port that serves `target`, or of those that no service names.
pub(crate) fn inbound_routes(cluster: &str, target: Option<&ServiceTarget>) -> RouteConfiguration {
    let (host, port) = target.map_or(("", 0), |it| (it.service.hostname.as_str(), it.port.number));
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        retry_policy: Some(retry::inbound()),
        ..Default::default()
    };
    timeout::unlimited(&mut action);
    RouteConfiguration {
        name: cluster.to_owned(),
        validate_clusters: Some(false),
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
