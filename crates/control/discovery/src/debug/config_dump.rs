//! `/debug/config_dump`: what a proxy is sent, in the form of Envoy's admin interface, so that it can
//! be compared with what the proxy has.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use meltemi_xds::any;
use meltemi_xds::json::{JsonStyle, Secrets, to_json_with};
use meltemi_xds::pb::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, ConfigDump, EcdsConfigDump, EndpointsConfigDump,
    ListenersConfigDump, RoutesConfigDump, SecretsConfigDump, clusters_config_dump,
    ecds_config_dump, endpoints_config_dump, listeners_config_dump, routes_config_dump,
    secrets_config_dump,
};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Kind, Resource, View as _, Wanted};
use prost_types::Any;
use serde::Deserialize;

use crate::debug::{WhichProxy, find, json};
use crate::http::Observed;
use crate::view::MeshView;

#[derive(Deserialize)]
pub(super) struct Parameters {
    #[serde(flatten)]
    which: WhichProxy,
    /// Endpoints, too; Envoy's own parameter of this name has no value.
    include_eds: Option<String>,
}

pub(super) async fn answer(
    State(observed): State<Observed>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let Parameters { which, include_eds } = parameters;
    let status = match find(&observed, &which) {
        Ok(status) => status,
        Err(answer) => return answer,
    };
    let with_endpoints = include_eds.is_some_and(|value| value != "false");
    let dump = dump(&observed.state().view, &status.node, with_endpoints);
    let style = JsonStyle {
        secrets: Secrets::Redacted,
        ..JsonStyle::default()
    };
    json(&to_json_with(&dump, style))
}

fn dump(view: &Arc<MeshView>, node: &Arc<Node>, with_endpoints: bool) -> ConfigDump {
    let seen = view.clone().viewer(node).look();
    let all = |kind| seen.resources(kind, &Wanted::All).into_iter();
    let clusters = ClustersConfigDump {
        version_info: seen.version().to_string(),
        dynamic_active_clusters: all(Kind::Cluster)
            .map(|it| clusters_config_dump::DynamicCluster {
                cluster: Some(body(&it)),
                version_info: it.version.to_string(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let endpoints = with_endpoints.then(|| EndpointsConfigDump {
        dynamic_endpoint_configs: all(Kind::Endpoint)
            .map(|it| endpoints_config_dump::DynamicEndpointConfig {
                endpoint_config: Some(body(&it)),
                version_info: it.version.to_string(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let listeners = ListenersConfigDump {
        version_info: seen.version().to_string(),
        dynamic_listeners: all(Kind::Listener)
            .map(|it| listeners_config_dump::DynamicListener {
                active_state: Some(listeners_config_dump::DynamicListenerState {
                    listener: Some(body(&it)),
                    version_info: it.version.to_string(),
                    ..Default::default()
                }),
                name: it.name.as_ref().to_owned(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let routes = RoutesConfigDump {
        dynamic_route_configs: all(Kind::Route)
            .map(|it| routes_config_dump::DynamicRouteConfig {
                route_config: Some(body(&it)),
                version_info: it.version.to_string(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let secrets = SecretsConfigDump {
        dynamic_active_secrets: all(Kind::Secret)
            .map(|it| secrets_config_dump::DynamicSecret {
                secret: Some(body(&it)),
                version_info: it.version.to_string(),
                name: it.name.as_ref().to_owned(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let extensions = EcdsConfigDump {
        ecds_filters: all(Kind::Extension)
            .map(|it| ecds_config_dump::EcdsFilterConfig {
                ecds_filter: Some(body(&it)),
                version_info: it.version.to_string(),
                ..Default::default()
            })
            .collect(),
    };
    let mut configs = vec![
        any::pack(&BootstrapConfigDump::default()),
        any::pack(&clusters),
    ];
    configs.extend(endpoints.map(|it| any::pack(&it)));
    configs.extend([
        any::pack(&extensions),
        any::pack(&listeners),
        any::pack(&routes),
        any::pack(&secrets),
    ]);
    ConfigDump { configs }
}

fn body(resource: &Resource) -> Any {
    (*resource.body).clone()
}
