//! Patches to route tables, their hosts and routes.
//!
//! In: a table and the context that it is in. Out: the table patched.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_merge::merge;
use meltemi_model::{
    ApplyTo, ConfigPatch, ObjectMatch, PatchContext, PatchOperation, RouteActionKind,
    RouteConfigurationMatch,
};
use meltemi_xds::any::{is, pack, unpack};
use meltemi_xds::pb::envoy::config::listener::v3::{Listener, filter};
use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route::Action,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};

use super::insert::{self, end};
use super::listener::lists;
use super::{Patches, message};
use crate::name;
use crate::scope::Scope;

/// The ports of services by the workload's ports that they lead to.
pub(super) type ServicePorts = BTreeMap<u16, BTreeSet<u16>>;

/// The ports at which clients reach the proxy's own ports.
pub(super) fn service_ports(scope: &Scope<'_>) -> ServicePorts {
    let mut ports = ServicePorts::new();
    for target in scope.targets() {
        let services = ports.entry(target.target).or_default();
        services.insert(target.port.number);
    }
    ports
}

/// Patches a table.
pub(super) fn patch(
    patches: &Patches<'_>,
    ports: &ServicePorts,
    context: PatchContext,
    table: &mut RouteConfiguration,
) {
    let here = |kind| {
        let patches = patches.to(kind, context);
        let own = patches.filter(|it| matches_table(it, ports, context, &table.name));
        own.collect::<Vec<_>>()
    };
    let of_table = here(ApplyTo::RouteConfiguration);
    let of_hosts = here(ApplyTo::VirtualHost);
    let of_routes = here(ApplyTo::HttpRoute);
    for patch in of_table {
        if let (Some(lists), Some(value)) = (lists(patch), message::encoded(patch)) {
            merge(table, value, lists);
        }
    }
    table
        .virtual_hosts
        .retain_mut(|host| patch_host(&of_hosts, &of_routes, host));
    for patch in of_hosts {
        if patch.operation == PatchOperation::Add {
            table
                .virtual_hosts
                .extend(message::of::<VirtualHost>(patch));
        }
    }
}

/// Patches the tables that stand in a listener itself.
pub(super) fn patch_inline(patches: &Patches<'_>, context: PatchContext, listener: &mut Listener) {
    let kinds = [
        ApplyTo::RouteConfiguration,
        ApplyTo::VirtualHost,
        ApplyTo::HttpRoute,
    ];
    if !kinds.iter().any(|it| patches.by_kind.contains_key(it)) {
        return;
    }
    let chains = listener.filter_chains.iter_mut();
    for filter in chains.flat_map(|it| &mut it.filters) {
        let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
            continue;
        };
        if !is::<HttpConnectionManager>(any) {
            continue;
        }
        let Ok(mut manager) = unpack::<HttpConnectionManager>(any) else {
            continue;
        };
        if let Some(RouteSpecifier::RouteConfig(table)) = &mut manager.route_specifier {
            patch(patches, &ServicePorts::new(), context, table);
            *any = pack(&manager);
        }
    }
}

/// Patches a host; `false` if it goes.
fn patch_host(
    of_hosts: &[&ConfigPatch],
    of_routes: &[&ConfigPatch],
    host: &mut VirtualHost,
) -> bool {
    for patch in of_hosts {
        if !matches_host(patch, host) {
            continue;
        }
        match patch.operation {
            PatchOperation::Remove => return false,
            PatchOperation::Replace => {
                if let Some(value) = message::of(patch) {
                    *host = value;
                }
            }
            _ => {
                if let (Some(lists), Some(value)) = (lists(patch), message::encoded(patch)) {
                    merge(host, value, lists);
                }
            }
        }
    }
    patch_routes(of_routes, host);
    true
}

fn patch_routes(patches: &[&ConfigPatch], host: &mut VirtualHost) {
    let here: Vec<_> = patches.iter().filter(|it| matches_host(it, host)).collect();
    host.routes.retain_mut(|route| {
        for patch in &here {
            if !matches_route(patch, route) {
                continue;
            }
            if patch.operation == PatchOperation::Remove {
                return false;
            }
            if let (Some(lists), Some(value)) = (lists(patch), message::encoded(patch)) {
                merge(route, value, lists);
            }
        }
        true
    });
    for patch in here {
        let is_named = |it: &Route| matches_route(patch, it);
        let by_name = wanted(patch).is_some_and(|it| it.route.is_some());
        let named = by_name.then_some(&is_named as &dyn Fn(&Route) -> bool);
        let missing = by_name && !host.routes.iter().any(is_named);
        match patch.operation {
            PatchOperation::Remove => {}
            PatchOperation::InsertFirst if missing => {}
            _ => insert::apply(&mut host.routes, patch, named, end),
        }
    }
}

fn wanted(patch: &ConfigPatch) -> Option<&RouteConfigurationMatch> {
    match &patch.object {
        ObjectMatch::RouteConfiguration(wanted) => Some(wanted),
        ObjectMatch::Any | ObjectMatch::Listener(_) | ObjectMatch::Cluster(_) => None,
    }
}

fn matches_table(
    patch: &ConfigPatch,
    ports: &ServicePorts,
    context: PatchContext,
    table: &str,
) -> bool {
    let Some(wanted) = wanted(patch) else {
        return true;
    };
    if wanted.name.as_ref().is_some_and(|it| it != table) {
        return false;
    }
    if context != PatchContext::Gateway {
        let port = name::inbound_port(table).or_else(|| table.parse().ok());
        return wanted.port.is_none_or(|it| port == Some(it));
    }
    let own = name::GatewayTable::parse(table);
    let is_port = |wanted: u16| match own.port.map(|it| (it, ports.get(&it))) {
        Some((_, Some(services))) => services.contains(&wanted),
        Some((number, None)) => number == wanted,
        None => false,
    };
    let is_gateway = |wanted: &String| {
        let own = own.gateway;
        own.is_some_and(|(namespace, name)| wanted.split_once('/') == Some((namespace, name)))
    };
    wanted.port.is_none_or(is_port)
        && wanted
            .port_name
            .as_deref()
            .is_none_or(|it| it == own.port_name)
        && wanted.gateway.as_ref().is_none_or(is_gateway)
}

fn matches_host(patch: &ConfigPatch, host: &VirtualHost) -> bool {
    wanted(patch).is_none_or(|wanted| {
        let name = wanted.virtual_host.as_ref();
        let domain = wanted.domain.as_ref();
        name.is_none_or(|it| *it == host.name) && domain.is_none_or(|it| host.domains.contains(it))
    })
}

fn matches_route(patch: &ConfigPatch, route: &Route) -> bool {
    let Some(wanted) = wanted(patch).and_then(|it| it.route.as_ref()) else {
        return true;
    };
    let action = match &route.action {
        Some(Action::Route(_)) => Some(RouteActionKind::Route),
        Some(Action::Redirect(_)) => Some(RouteActionKind::Redirect),
        Some(Action::DirectResponse(_)) => Some(RouteActionKind::DirectResponse),
        Some(Action::FilterAction(_) | Action::NonForwardingAction(_)) | None => None,
    };
    wanted.name.as_ref().is_none_or(|it| *it == route.name)
        && (wanted.action.is_none() || action.is_none() || wanted.action == action)
}
