//! The analyzers, a file each.

pub(crate) mod destination_rule_subsets;
pub(crate) mod gateway_conflicts;
pub(crate) mod gateway_credentials;
pub(crate) mod gateway_ports;
pub(crate) mod namespace_injection;
pub(crate) mod service_entry_addresses;
pub(crate) mod service_entry_protocols;
pub(crate) mod service_ports;
pub(crate) mod sidecar_selectors;
pub(crate) mod virtual_service_destinations;
pub(crate) mod virtual_service_gateways;
pub(crate) mod virtual_service_hosts;
pub(crate) mod virtual_service_matches;
pub(crate) mod virtual_service_subsets;

use meltemi_model::{
    Destination, FieldPath, HttpAction, L4Destination, NamespaceName, VirtualService,
};

use crate::context::spec;

/// A destination of a VirtualService and the path of it.
pub(crate) struct Target<'a> {
    pub destination: &'a Destination,
    pub path: FieldPath,
    pub mirrored: bool,
}

/// Every destination of a VirtualService: where requests go, and where copies of them go.
pub(crate) fn targets(service: &VirtualService) -> Vec<Target<'_>> {
    let mut found = Vec::new();
    for (at, route) in service.http.iter().enumerate() {
        let route_path = spec("http").index(at);
        if let HttpAction::Forward(destinations) = &route.action {
            for (at, weighted) in destinations.iter().enumerate() {
                found.push(Target {
                    destination: &weighted.destination,
                    path: route_path.field("route").index(at).field("destination"),
                    mirrored: false,
                });
            }
        }
        // The older `mirror` comes before `mirrors`; only one of the two may be written.
        let single = route.mirrors.len() == 1;
        for (at, mirror) in route.mirrors.iter().enumerate() {
            let listed = route_path.field("mirrors").index(at).field("destination");
            found.push(Target {
                destination: &mirror.destination,
                path: if single {
                    route_path.field("mirror")
                } else {
                    listed
                },
                mirrored: true,
            });
        }
    }
    let tls = service.tls.iter().map(|it| &it.destinations).enumerate();
    let tcp = service.tcp.iter().map(|it| &it.destinations).enumerate();
    for (field, (at, destinations)) in tls.map(|it| ("tls", it)).chain(tcp.map(|it| ("tcp", it))) {
        for (inner, L4Destination { destination, .. }) in destinations.iter().enumerate() {
            let route = spec(field).index(at).field("route").index(inner);
            found.push(Target {
                destination,
                path: route.field("destination"),
                mirrored: false,
            });
        }
    }
    found
}

/// Namespaces that belong to the platform and are not looked at.
pub(crate) fn is_system(namespace: &NamespaceName) -> bool {
    matches!(
        namespace.as_str(),
        "kube-system" | "kube-public" | "kube-node-lease" | "local-path-storage"
    )
}
