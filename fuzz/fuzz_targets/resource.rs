//! A resource of any bytes is converted or refused with a path, never a panic. The first byte
//! chooses the type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost_types::Any;

const TYPES: [&str; 5] = [
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, value)) = bytes.split_first() else {
        return;
    };
    let resource = Any {
        type_url: TYPES[usize::from(*first) % TYPES.len()].to_owned(),
        value: value.to_vec(),
    };
    if let Err(errors) = meltemi_config::Resource::from_any(&resource) {
        assert!(!errors.to_string().is_empty());
    }
});
