//! `/config_dump`: configuration as it was received, in the messages of `envoy.admin.v3`, with
//! private keys redacted.

mod endpoints;
mod extensions;
mod routes;
mod secrets;

use std::time::SystemTime;

use axum::http::StatusCode;
use meltemi_xds::any;
use meltemi_xds::json::{JsonNames, JsonStyle, Secrets, to_json_with};
use meltemi_xds::pb::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, ConfigDump, ListenersConfigDump,
    ScopedRoutesConfigDump, UpdateFailureState, clusters_config_dump, listeners_config_dump,
};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use prost_types::{Any, Timestamp};
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::mask::Mask;
use crate::query::Query;
use crate::reply::Reply;
use crate::{ActiveConfig, AdminState, ConfigEntry, ConfigKind, UpdateFailure};

/// The repeated fields of all dumps, each with the type of its elements.
const RESOURCES: &[(&str, &str)] = &[
    ("static_clusters", "ClustersConfigDump.StaticCluster"),
    (
        "dynamic_active_clusters",
        "ClustersConfigDump.DynamicCluster",
    ),
    (
        "dynamic_warming_clusters",
        "ClustersConfigDump.DynamicCluster",
    ),
    (
        "static_endpoint_configs",
        "EndpointsConfigDump.StaticEndpointConfig",
    ),
    (
        "dynamic_endpoint_configs",
        "EndpointsConfigDump.DynamicEndpointConfig",
    ),
    ("ecds_filters", "EcdsConfigDump.EcdsFilterConfig"),
    ("static_listeners", "ListenersConfigDump.StaticListener"),
    ("dynamic_listeners", "ListenersConfigDump.DynamicListener"),
    ("static_route_configs", "RoutesConfigDump.StaticRouteConfig"),
    (
        "dynamic_route_configs",
        "RoutesConfigDump.DynamicRouteConfig",
    ),
    ("static_secrets", "SecretsConfigDump.StaticSecret"),
    ("dynamic_active_secrets", "SecretsConfigDump.DynamicSecret"),
    ("dynamic_warming_secrets", "SecretsConfigDump.DynamicSecret"),
];

const STYLE: JsonStyle = JsonStyle {
    names: JsonNames::Proto,
    secrets: Secrets::Redacted,
};

pub(crate) fn config_dump(state: &AdminState, query: &Query<'_>) -> Reply {
    let wanted = match query.regex("name_regex") {
        Ok(names) => Wanted { names },
        Err(reply) => return reply,
    };
    let mask = Mask::parse(query.get("mask").unwrap_or_default());
    let resource = query.get("resource");
    let endpoints = query.is_on("include_eds")
        || resource.is_some_and(|resource| resource.contains("endpoint_configs"));
    let dump = dump(state, &wanted, endpoints);
    let Value::Object(mut dump) = to_json_with(&dump, STYLE) else {
        return Reply::json(&json!({"configs": []}));
    };
    let mut configs = match dump.get_mut("configs").map(Value::take) {
        Some(Value::Array(configs)) => configs,
        _ => Vec::new(),
    };
    if let Some(resource) = resource {
        configs = match elements(configs, resource) {
            Ok(elements) => elements,
            Err(reply) => return reply,
        };
    }
    for config in &mut configs {
        if let Err(field) = mask.apply(config) {
            let why = format!("mask: {field} is a list; name it with resource instead\n");
            return Reply::bad_request(why);
        }
    }
    Reply::json(&json!({"configs": configs}))
}

/// The elements of one repeated field, each with its type.
fn elements(configs: Vec<Value>, resource: &str) -> Result<Vec<Value>, Reply> {
    let Some((_, kind)) = RESOURCES.iter().find(|(name, _)| *name == resource) else {
        if resource == "bootstrap" {
            let why =
                format!("{resource} is not a repeated field. Use ?mask= to get only this field");
            return Err(Reply::bad_request(why));
        }
        let why = format!("{resource} not found in config dump");
        return Err(Reply::error(StatusCode::NOT_FOUND, why));
    };
    let mut found = Vec::new();
    for mut config in configs {
        let Some(Value::Array(elements)) = config.get_mut(resource).map(Value::take) else {
            continue;
        };
        for element in elements {
            let mut typed = Map::new();
            let url = format!("type.googleapis.com/envoy.admin.v3.{kind}");
            typed.insert("@type".to_owned(), url.into());
            if let Value::Object(fields) = element {
                typed.extend(fields);
            }
            found.push(Value::Object(typed));
        }
    }
    Ok(found)
}

/// Which resources are dumped.
struct Wanted {
    names: Option<Regex>,
}

impl Wanted {
    fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.is_match(name))
    }
}

fn dump(state: &AdminState, wanted: &Wanted, include_endpoints: bool) -> ConfigDump {
    let bootstrap = state.config.bootstrap();
    let resources = bootstrap
        .as_ref()
        .and_then(|(bootstrap, _)| bootstrap.static_resources.clone())
        .unwrap_or_default();
    let read = bootstrap.as_ref().map(|(_, read)| timestamp(*read));
    let listeners = Listeners {
        fixed: resources.listeners,
        read,
        delivered: state
            .config
            .entries(ConfigKind::Listener)
            .into_iter()
            .collect(),
    };
    let mut configs = Vec::new();
    if let Some((bootstrap, _)) = bootstrap {
        configs.push(any::pack(&BootstrapConfigDump {
            bootstrap: Some::<Bootstrap>(bootstrap),
            last_updated: read,
        }));
    }
    configs.push(any::pack(&clusters(
        state,
        wanted,
        &resources.clusters,
        read,
    )));
    if include_endpoints {
        configs.push(any::pack(&endpoints::dump(state, wanted)));
    }
    // Envoy has the list where a filter asks.
    let extensions = extensions::dump(state, wanted);
    if !extensions.ecds_filters.is_empty() {
        configs.push(any::pack(&extensions));
    }
    configs.push(any::pack(&listeners.dump(state, wanted)));
    configs.push(any::pack(&ScopedRoutesConfigDump::default()));
    configs.push(any::pack(&routes::dump(state, wanted, &listeners)));
    configs.push(any::pack(&secrets::dump(
        state,
        wanted,
        &resources.secrets,
        read,
    )));
    ConfigDump { configs }
}

/// Listeners of both origins.
struct Listeners {
    /// Of the bootstrap.
    fixed: Vec<Listener>,
    /// When that was read.
    read: Option<Timestamp>,
    /// From discovery, by name.
    delivered: Vec<(String, ConfigEntry)>,
}

impl Listeners {
    fn dump(&self, state: &AdminState, wanted: &Wanted) -> ListenersConfigDump {
        let fixed = self
            .fixed
            .iter()
            .filter(|listener| wanted.has(&listener.name));
        let delivered = self.delivered.iter().filter(|(name, _)| wanted.has(name));
        ListenersConfigDump {
            version_info: state.config.version(ConfigKind::Listener),
            static_listeners: fixed
                .map(|listener| listeners_config_dump::StaticListener {
                    listener: Some(any::pack(listener)),
                    last_updated: self.read,
                })
                .collect(),
            dynamic_listeners: delivered
                .map(|(name, ConfigEntry { active, failure })| {
                    let active = active.clone().map(|active| {
                        let ActiveConfig {
                            version,
                            resource,
                            updated,
                        } = active;
                        listeners_config_dump::DynamicListenerState {
                            version_info: version,
                            listener: Some(resource),
                            last_updated: Some(timestamp(updated)),
                        }
                    });
                    listeners_config_dump::DynamicListener {
                        name: name.clone(),
                        active_state: active,
                        error_state: failure.as_ref().map(failed),
                        ..listeners_config_dump::DynamicListener::default()
                    }
                })
                .collect(),
        }
    }
}

fn clusters(
    state: &AdminState,
    wanted: &Wanted,
    fixed: &[meltemi_xds::pb::envoy::config::cluster::v3::Cluster],
    read: Option<Timestamp>,
) -> ClustersConfigDump {
    let warming: Vec<_> = state.clusters.warming();
    let mut dump = ClustersConfigDump {
        version_info: state.config.version(ConfigKind::Cluster),
        static_clusters: fixed
            .iter()
            .filter(|cluster| wanted.has(&cluster.name))
            .map(|cluster| clusters_config_dump::StaticCluster {
                cluster: Some(any::pack(cluster)),
                last_updated: read,
            })
            .collect(),
        ..ClustersConfigDump::default()
    };
    for (name, entry) in state.config.entries(ConfigKind::Cluster) {
        if !wanted.has(&name) {
            continue;
        }
        let ready = entry.active.is_some() && !warming.iter().any(|cluster| cluster.name() == name);
        let Parts {
            version,
            resource,
            updated,
            failure,
        } = Parts::of(entry);
        let cluster = clusters_config_dump::DynamicCluster {
            version_info: version,
            cluster: resource,
            last_updated: updated,
            error_state: failure,
            ..clusters_config_dump::DynamicCluster::default()
        };
        if ready {
            dump.dynamic_active_clusters.push(cluster);
        } else {
            dump.dynamic_warming_clusters.push(cluster);
        }
    }
    dump
}

/// An entry as most dumps have it.
struct Parts {
    version: String,
    resource: Option<Any>,
    updated: Option<Timestamp>,
    failure: Option<UpdateFailureState>,
}

impl Parts {
    fn of(ConfigEntry { active, failure }: ConfigEntry) -> Self {
        let failure = failure.as_ref().map(failed);
        match active {
            Some(ActiveConfig {
                version,
                resource,
                updated,
            }) => Self {
                version,
                resource: Some(resource),
                updated: Some(timestamp(updated)),
                failure,
            },
            None => Self {
                version: String::new(),
                resource: None,
                updated: None,
                failure,
            },
        }
    }
}

fn failed(failure: &UpdateFailure) -> UpdateFailureState {
    let UpdateFailure {
        version,
        resource,
        attempted,
        details,
    } = failure.clone();
    UpdateFailureState {
        failed_configuration: resource,
        last_update_attempt: Some(timestamp(attempted)),
        details,
        version_info: version,
    }
}

/// To the millisecond, as Envoy prints it.
fn timestamp(time: SystemTime) -> Timestamp {
    let mut timestamp = Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000_000;
    timestamp
}
