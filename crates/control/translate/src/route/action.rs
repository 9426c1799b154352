//! Where a route sends requests (FEATURES T5, T6).
//!
//! In: `route[]`, `rewrite`, `timeout`, `retries` of a VirtualService route. Out: Envoy's route action.

use meltemi_model::{Destination, Hostname, HttpRoute, Rewrite, UriRewrite, WeightedDestination};
use meltemi_xds::pb::envoy::config::route::v3::{
    RouteAction, WeightedCluster,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
    weighted_cluster::{ClusterWeight, cluster_weight},
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::header::Operations;
use super::{hash, mirror, retry, timeout};
use crate::name::SubsetKey;
use crate::proto::regex;
use crate::scope::Scope;

/// The action of a route to `destinations`, and the header operations of a route that has only one.
pub(super) fn forward(
    scope: &Scope<'_>,
    route: &HttpRoute,
    destinations: &[WeightedDestination],
    port: u16,
    operations: &mut Operations,
) -> RouteAction {
    let mut action = RouteAction {
        append_x_forwarded_host: scope.proxy_headers().x_forwarded_host,
        ..Default::default()
    };
    timeout::apply(&mut action, route.timeout);
    let mut authority = operations.authority.take();
    if let Some(rewrite) = &route.rewrite {
        let Rewrite {
            uri,
            authority: rewritten,
        } = rewrite;
        rewrite_path(&mut action, uri.as_ref());
        authority = rewritten.clone().or(authority);
    }
    action.cluster_specifier = Some(match destinations {
        [only] => {
            operations.append(Operations::of(&only.headers));
            authority = authority.or(operations.authority.take());
            ClusterSpecifier::Cluster(cluster(scope, &only.destination, port))
        }
        several => ClusterSpecifier::WeightedClusters(weighted(scope, several, port)),
    });
    action.request_mirror_policies = mirror::policies(scope, &route.mirrors, port);
    let chosen = destinations
        .iter()
        .filter(|it| it.weight > 0 || destinations.len() == 1);
    action.hash_policy = chosen
        .flat_map(|it| hash::policies(scope, &it.destination, port))
        .collect();
    // A request that has an endpoint of its own is not to be retried at another.
    let sticky = destinations.len() == 1 && !action.hash_policy.is_empty();
    let retries = route.retries.as_ref();
    let retries = retries.unwrap_or(&scope.mesh().default_http_retry_policy);
    action.retry_policy = retry::policy(scope, retries, sticky);
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
    action
}

/// The action of a route to a service that no VirtualService shapes.
pub(super) fn default(scope: &Scope<'_>, host: &Hostname, port: u16) -> RouteAction {
    let key = SubsetKey {
        port,
        subset: "",
        host: host.as_str(),
    };
    let destination = Destination {
        host: host.clone(),
        subset: None,
        port: Some(port),
    };
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(key.cluster())),
        hash_policy: hash::policies(scope, &destination, port),
        retry_policy: retry::policy(scope, &scope.mesh().default_http_retry_policy, false),
        append_x_forwarded_host: scope.proxy_headers().x_forwarded_host,
        ..Default::default()
    };
    timeout::apply(&mut action, None);
    action
}

/// The cluster of a destination. It may not exist: then requests get 503 and the flag `NC`.
pub(crate) fn cluster(scope: &Scope<'_>, destination: &Destination, port: u16) -> String {
    let Destination {
        host,
        subset,
        port: written,
    } = destination;
    let service = scope.service(host.as_str());
    let only = service.as_ref().and_then(|it| match it.ports.as_slice() {
        [only] => Some(only.number),
        _ => None,
    });
    // Another name of a service of the mesh has no cluster of its own.
    let concrete = service.as_ref().and_then(|it| scope.concrete(it));
    SubsetKey {
        port: written.or(only).unwrap_or(port),
        subset: subset.as_ref().map_or("", |it| it.as_str()),
        host: concrete.map_or(host, |it| &it.hostname).as_str(),
    }
    .cluster()
}

fn weighted(scope: &Scope<'_>, destinations: &[WeightedDestination], port: u16) -> WeightedCluster {
    let clusters = destinations
        .iter()
        .filter(|it| it.weight > 0)
        .map(|it| {
            let WeightedDestination {
                destination,
                weight,
                headers,
            } = it;
            let Operations {
                request_add,
                request_remove,
                response_add,
                response_remove,
                authority,
            } = Operations::of(headers);
            ClusterWeight {
                name: cluster(scope, destination, port),
                weight: Some(*weight),
                request_headers_to_add: request_add,
                request_headers_to_remove: request_remove,
                response_headers_to_add: response_add,
                response_headers_to_remove: response_remove,
                host_rewrite_specifier: authority
                    .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
                ..Default::default()
            }
        })
        .collect();
    WeightedCluster {
        clusters,
        ..Default::default()
    }
}

fn rewrite_path(action: &mut RouteAction, uri: Option<&UriRewrite>) {
    match uri {
        None => {}
        Some(UriRewrite::Replace(path)) => action.prefix_rewrite = path.clone(),
        Some(UriRewrite::Regex {
            pattern,
            substitution,
        }) => {
            action.regex_rewrite = Some(RegexMatchAndSubstitute {
                pattern: Some(regex(pattern)),
                substitution: substitution.clone(),
            });
        }
    }
}
