//! Route tables: those that discovery delivered, and those written inside listeners.

use std::collections::BTreeMap;

use meltemi_xds::any;
use meltemi_xds::pb::envoy::admin::v3::{RoutesConfigDump, routes_config_dump};
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, Listener, filter::ConfigType};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use prost_types::{Any, Timestamp};

use super::{Listeners, Parts, Wanted, timestamp};
use crate::{AdminState, ConfigEntry, ConfigKind};

pub(super) fn dump(state: &AdminState, wanted: &Wanted, listeners: &Listeners) -> RoutesConfigDump {
    let mut dump = RoutesConfigDump::default();
    let mut add = |listener: &Listener, updated: Option<Timestamp>| {
        let tables = inline(listener).into_iter();
        let tables = tables.filter(|table| wanted.has(&table.name));
        dump.static_route_configs.extend(tables.map(|table| {
            routes_config_dump::StaticRouteConfig {
                route_config: Some(any::pack(&table)),
                last_updated: updated,
            }
        }));
    };
    for listener in &listeners.fixed {
        add(listener, listeners.read);
    }
    for (_, entry) in &listeners.delivered {
        let Some(active) = &entry.active else {
            continue;
        };
        // What was accepted has been read before.
        if let Ok(listener) = any::unpack::<Listener>(&active.resource) {
            add(&listener, Some(timestamp(active.updated)));
        }
    }
    let hosts = state.config.entries(ConfigKind::VirtualHost);
    for (name, entry) in state.config.entries(ConfigKind::Routes) {
        if !wanted.has(&name) {
            continue;
        }
        let Parts {
            version,
            resource,
            updated,
            failure,
        } = Parts::of(entry);
        dump.dynamic_route_configs
            .push(routes_config_dump::DynamicRouteConfig {
                version_info: version,
                route_config: resource.map(|table| whole(table, &name, &hosts)),
                last_updated: updated,
                error_state: failure,
                ..routes_config_dump::DynamicRouteConfig::default()
            });
    }
    dump
}

/// A table with the virtual hosts that were delivered for it one by one.
fn whole(table: Any, name: &str, hosts: &BTreeMap<String, ConfigEntry>) -> Any {
    let is_of_it = |host: &str| host.rsplit_once('/').is_some_and(|(of, _)| of == name);
    let hosts = hosts.iter().filter(|(host, _)| is_of_it(host));
    let active = hosts.filter_map(|(_, entry)| entry.active.as_ref());
    let mut hosts = active
        .filter_map(|active| any::unpack(&active.resource).ok())
        .peekable();
    if hosts.peek().is_none() {
        return table;
    }
    let Ok(mut message) = any::unpack::<RouteConfiguration>(&table) else {
        return table;
    };
    message.virtual_hosts.extend(hosts);
    any::pack(&message)
}

/// The route tables written inside a listener's connection managers.
fn inline(listener: &Listener) -> Vec<RouteConfiguration> {
    let chains = listener.filter_chains.iter();
    let filters = chains
        .chain(&listener.default_filter_chain)
        .flat_map(|chain| &chain.filters);
    filters.filter_map(table_of).collect()
}

fn table_of(filter: &Filter) -> Option<RouteConfiguration> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        return None;
    };
    let manager = any::unpack::<HttpConnectionManager>(config).ok()?;
    match manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(table)) => Some(table),
        _ => None,
    }
}
