//! Route tables: those that discovery delivered, and those written inside listeners.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::admin::v3::{RoutesConfigDump, routes_config_dump};
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, Listener, filter::ConfigType};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use prost_types::Timestamp;

use super::{Listeners, Parts, Wanted, timestamp};
use crate::{AdminState, ConfigKind};

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
                route_config: resource,
                last_updated: updated,
                error_state: failure,
                ..routes_config_dump::DynamicRouteConfig::default()
            });
    }
    dump
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
