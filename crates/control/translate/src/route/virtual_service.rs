//! Routes of a VirtualService (FEATURES T4 to T9).
//!
//! In: the virtual service and the place where it is to apply. Out: routes in its own order, those
//! left out that this proxy's requests cannot match and those after one that matches everything.

use std::collections::BTreeMap;

use meltemi_model::{
    CorsPolicy, Fault, GatewayRef, HttpAction, HttpMatch, HttpRoute, Kind, VirtualService,
};
use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteAction, route, route_action::ClusterSpecifier,
};

use prost_types::Any;

use super::header::Operations;
use super::matching::{described_path, everything, is_catch_all, route_match};
use super::{action, cors, decorator, fault, redirect};
use crate::name::{SubsetKey, config_metadata, host_port};
use crate::proto::{metadata, pack};
use crate::scope::Scope;

/// Where routes are to apply.
pub(crate) struct Place<'a> {
    /// The gateway, or the mesh.
    pub gateway: &'a GatewayRef,
    /// The port that clients address.
    pub port: u16,
    /// Whether they do so over TLS that the proxy opens.
    pub tls: bool,
}

/// The routes of `service` at a place; none if no request there can match.
pub(crate) fn routes(scope: &Scope<'_>, service: &VirtualService, place: &Place<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for http in &service.http {
        // One whose delegate is not there: the snapshot puts the routes of others in their place.
        if matches!(http.action, HttpAction::Delegate(_)) {
            continue;
        }
        let Some(matches) = http.matches_at(place.gateway) else {
            continue;
        };
        if matches.is_empty() {
            routes.push(route(scope, service, http, None, place));
            break;
        }
        for wanted in matches {
            if !is_possible(scope, wanted, place.port) {
                continue;
            }
            let made = route(scope, service, http, Some(wanted), place);
            let last = made.r#match.as_ref().is_some_and(is_catch_all);
            routes.push(made);
            if last {
                return routes;
            }
        }
    }
    routes
}

/// Whether requests of this proxy on this port can match at all.
fn is_possible(scope: &Scope<'_>, wanted: &HttpMatch, port: u16) -> bool {
    let namespace = wanted.source_namespace.as_ref();
    wanted.port.is_none_or(|it| it == port)
        && wanted.source_labels.selects(scope.labels)
        && namespace.is_none_or(|it| *it == scope.node.namespace)
}

fn route(
    scope: &Scope<'_>,
    service: &VirtualService,
    http: &HttpRoute,
    wanted: Option<&HttpMatch>,
    place: &Place<'_>,
) -> Route {
    let HttpRoute {
        name,
        matches: _, // ignored: one of them is `wanted`
        action,
        // ignored: in `action::forward`
        rewrite: _,
        timeout: _,
        retries: _,
        mirrors: _,
        headers,
        cors,
        fault,
    } = http;
    let mut operations = Operations::of(headers);
    let made = match action {
        HttpAction::Forward(destinations) => route::Action::Route(action::forward(
            scope,
            http,
            destinations,
            place.port,
            &mut operations,
        )),
        HttpAction::Redirect(it) => {
            route::Action::Redirect(redirect::redirect(it, place.port, place.tls))
        }
        HttpAction::Respond(it) => route::Action::DirectResponse(redirect::direct_response(it)),
        HttpAction::Delegate(_) => unreachable!("left out before"),
    };
    let matcher = wanted.map_or_else(everything, route_match);
    let name = name.clone().unwrap_or_default();
    let operation = operation(&made, service, place.port, &described_path(&matcher));
    Route {
        name: match wanted.and_then(|it| it.name.as_ref()) {
            Some(of_match) => format!("{name}.{of_match}"),
            None => name,
        },
        r#match: Some(matcher),
        stat_prefix: wanted
            .and_then(|it| it.stat_prefix.clone())
            .unwrap_or_default(),
        metadata: Some(metadata([(
            "istio",
            config_metadata(Kind::VirtualService, &service.meta),
        )])),
        decorator: Some(decorator(operation)),
        request_headers_to_add: operations.request_add,
        request_headers_to_remove: operations.request_remove,
        response_headers_to_add: operations.response_add,
        response_headers_to_remove: operations.response_remove,
        typed_per_filter_config: filter_configs(
            cors.as_ref(),
            fault.as_ref().filter(|_| !scope.node.lacks.fault),
        ),
        action: Some(made),
        ..Default::default()
    }
}

/// What single filters are told.
fn filter_configs(cors: Option<&CorsPolicy>, fault: Option<&Fault>) -> BTreeMap<String, Any> {
    let cors = cors.map(|it| (cors::FILTER.to_owned(), pack(&cors::policy(it))));
    let fault = fault.map(|it| (fault::FILTER.to_owned(), pack(&fault::policy(it))));
    cors.into_iter().chain(fault).collect()
}

/// What traces call the route: the destination where there is only one, else the virtual service.
fn operation(action: &route::Action, service: &VirtualService, port: u16, path: &str) -> String {
    if let route::Action::Route(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        ..
    }) = action
        && let Some(key) = SubsetKey::parse(cluster)
    {
        return format!("{}{path}", host_port(key.host, key.port));
    }
    format!("{}:{port}{path}", service.meta.name)
}
