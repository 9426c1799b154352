//! Endpoints as clusters have them now, by locality and priority.

use std::collections::BTreeMap;

use meltemi_ir::{Locality, Value};
use meltemi_upstream::{Cluster, HostSnapshot};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::admin::v3::{EndpointsConfigDump, endpoints_config_dump};
use meltemi_xds::pb::envoy::config::core::v3::Metadata;
use meltemi_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use prost_types::{ListValue, Struct, value::Kind};

use super::{Parts, Wanted};
use crate::clusters::{address, eds_health, host_address, locality};
use crate::{AdminState, ConfigKind};

pub(super) fn dump(state: &AdminState, wanted: &Wanted) -> EndpointsConfigDump {
    let mut delivered = state.config.entries(ConfigKind::Endpoints);
    let mut clusters = state.clusters.clusters();
    clusters.retain(|cluster| wanted.has(cluster.name()));
    clusters.sort_by(|left, right| left.name().cmp(right.name()));
    let mut dump = EndpointsConfigDump::default();
    for cluster in clusters {
        let assignment = Some(any::pack(&assignment(&cluster)));
        match cluster.eds_service() {
            None => {
                let config = endpoints_config_dump::StaticEndpointConfig {
                    endpoint_config: assignment,
                    last_updated: None,
                };
                dump.static_endpoint_configs.push(config);
            }
            Some(service) => {
                let entry = delivered.remove(service).unwrap_or_default();
                let Parts {
                    version,
                    resource: _, // ignored: hosts in use say more
                    updated,
                    failure,
                } = Parts::of(entry);
                let config = endpoints_config_dump::DynamicEndpointConfig {
                    version_info: version,
                    endpoint_config: assignment,
                    last_updated: updated,
                    error_state: failure,
                    ..endpoints_config_dump::DynamicEndpointConfig::default()
                };
                dump.dynamic_endpoint_configs.push(config);
            }
        }
    }
    dump
}

fn assignment(cluster: &Cluster) -> ClusterLoadAssignment {
    let mut groups: BTreeMap<(u32, Locality), Vec<LbEndpoint>> = BTreeMap::new();
    for host in cluster.snapshot().hosts {
        let key = (host.priority, host.locality.clone());
        groups.entry(key).or_default().push(endpoint(&host));
    }
    let endpoints =
        groups
            .into_iter()
            .map(|((priority, place), lb_endpoints)| LocalityLbEndpoints {
                locality: Some(locality(&place)),
                lb_endpoints,
                priority,
                ..LocalityLbEndpoints::default()
            });
    ClusterLoadAssignment {
        cluster_name: cluster.name().to_owned(),
        endpoints: endpoints.collect(),
        ..ClusterLoadAssignment::default()
    }
}

fn endpoint(host: &HostSnapshot) -> LbEndpoint {
    let metadata = (!host.metadata.is_empty()).then(|| Metadata {
        filter_metadata: host
            .metadata
            .0
            .iter()
            .map(|(filter, fields)| (filter.clone(), to_struct(fields)))
            .collect(),
        ..Metadata::default()
    });
    LbEndpoint {
        health_status: eds_health(host.eds_health).into(),
        metadata,
        load_balancing_weight: Some(host.weight),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(&host_address(host))),
            hostname: host.hostname.clone(),
            ..Endpoint::default()
        })),
    }
}

fn to_struct(fields: &BTreeMap<String, Value>) -> Struct {
    let fields = fields.iter();
    Struct {
        fields: fields
            .map(|(name, value)| (name.clone(), to_value(value)))
            .collect(),
    }
}

fn to_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::List(values) => Kind::ListValue(ListValue {
            values: values.iter().map(to_value).collect(),
        }),
        Value::Struct(fields) => Kind::StructValue(to_struct(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}
