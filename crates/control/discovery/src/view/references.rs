//! What resources refer to, found by their JSON form, so that no message is forgotten.
//!
//! In: listeners, clusters and route tables as they are sent. Out: [`References`]. Called by the model of
//! a proxy.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::json::to_json;
use prost::{Message, Name};
use serde_json::Value;

/// The clusters of a proxy's own bootstrap.
const BOOTSTRAP: [&str; 5] = [
    "agent",
    "prometheus_stats",
    "sds-grpc",
    "xds-grpc",
    "zipkin",
];

/// What a resource refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    /// Clusters without which Envoy refuses the resource.
    pub clusters: BTreeSet<String>,
    /// Gateway credentials.
    pub secrets: BTreeSet<String>,
}

/// The references of resources by their bytes: most are looked at many times.
#[derive(Default)]
pub(super) struct Known(BTreeMap<Vec<u8>, References>);

impl Known {
    /// What the message of these bytes refers to.
    pub fn of<M: Message + Name + Default>(&mut self, bytes: &[u8]) -> &References {
        self.0.entry(bytes.to_vec()).or_insert_with(|| {
            let message = M::decode(bytes).expect("it was encoded as one");
            let mut found = References::default();
            walk(&to_json(&message), &mut found);
            found
                .clusters
                .retain(|it| !BOOTSTRAP.contains(&it.as_str()));
            found
        })
    }
}

fn walk(value: &Value, found: &mut References) {
    match value {
        Value::Array(list) => list.iter().for_each(|it| walk(it, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    // Envoy looks for the cluster of a gRPC service when it takes the resource.
                    ("envoy_grpc", Value::Object(service)) => {
                        found.clusters.extend(text(service.get("cluster_name")));
                    }
                    ("name", Value::String(name)) if name.starts_with("kubernetes://") => {
                        found.secrets.insert(name.clone());
                    }
                    // A table that is part of a listener is checked unless it says otherwise.
                    ("route_config", table)
                        if table.get("validate_clusters") != Some(&Value::Bool(false)) =>
                    {
                        routed(table, found);
                    }
                    _ => {}
                }
                walk(value, found);
            }
        }
        _ => {}
    }
}

/// The clusters that routes lead to.
fn routed(value: &Value, found: &mut References) {
    match value {
        Value::Array(list) => list.iter().for_each(|it| routed(it, found)),
        Value::Object(fields) => {
            found.clusters.extend(text(fields.get("cluster")));
            if let Some(weighted) = fields
                .get("weighted_clusters")
                .and_then(|it| it.get("clusters"))
            {
                let all = weighted.as_array().into_iter().flatten();
                found
                    .clusters
                    .extend(all.filter_map(|it| text(it.get("name"))));
            }
            fields.values().for_each(|it| routed(it, found));
        }
        _ => {}
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    Some(value?.as_str()?.to_owned())
}
