//! What of a request decides its endpoint (FEATURES R1).
//!
//! In: `consistentHash` of the destination's rule. Out: Envoy's hash policy.

use meltemi_model::{BalancerPolicy, ConsistentHash, Destination, HashKey, PolicySettings};
use meltemi_xds::pb::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{
        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
    },
};

use crate::proto::duration;
use crate::scope::Scope;

/// The hash policy of requests to a destination on `port`.
pub(super) fn policies(scope: &Scope<'_>, destination: &Destination, port: u16) -> Vec<HashPolicy> {
    let Some(service) = scope.service(destination.host.as_str()) else {
        return Vec::new();
    };
    let Some(rule) = scope.destination_rule(&service) else {
        return Vec::new();
    };
    let subset = destination.subset.as_ref();
    let subset = subset.and_then(|it| rule.subset(it.as_str()));
    let policy = match subset {
        Some(subset) => rule.traffic_policy.refined_by(&subset.traffic_policy),
        None => rule.traffic_policy.clone(),
    };
    let only = match service.ports.as_slice() {
        [only] => Some(only.number),
        _ => None,
    };
    let port = destination.port.or(only).unwrap_or(port);
    consistent(policy.for_port(port))
        .map(of_hash)
        .into_iter()
        .collect()
}

/// Whether connections go to an endpoint by the client's address.
pub(crate) fn hashes_source(settings: &PolicySettings) -> bool {
    consistent(settings).is_some_and(|it| it.key == HashKey::SourceIp)
}

fn consistent(settings: &PolicySettings) -> Option<&ConsistentHash> {
    match &settings.load_balancer.as_ref()?.policy {
        BalancerPolicy::ConsistentHash(hash) => Some(hash),
        _ => None,
    }
}

fn of_hash(hash: &ConsistentHash) -> HashPolicy {
    let specifier = match &hash.key {
        HashKey::Header(name) => PolicySpecifier::Header(Header {
            header_name: name.as_str().to_owned(),
            ..Default::default()
        }),
        HashKey::Cookie {
            name,
            path,
            ttl,
            attributes,
        } => PolicySpecifier::Cookie(Cookie {
            name: name.clone(),
            ttl: ttl.map(duration),
            path: path.clone().unwrap_or_default(),
            attributes: attributes
                .iter()
                .map(|(name, value)| CookieAttribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
        }
    };
    HashPolicy {
        terminal: false,
        policy_specifier: Some(specifier),
    }
}
