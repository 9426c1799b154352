//! IST0109: VirtualServices of the mesh that have the same host where the same proxies see them.

use std::collections::BTreeMap;

use meltemi_model::{ExportTo, GatewayRef, VirtualService};

use crate::context::{Context, Found, metadata_name};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
    description: "Checks if multiple virtual services associated with the mesh gateway have conflicting hosts",
    run,
};

fn run(context: &Context) {
    let mut by_host: BTreeMap<String, Vec<Found<'_, VirtualService>>> = BTreeMap::new();
    for found in context.virtual_services() {
        if !found.spec.applies_at(&GatewayRef::Mesh) {
            continue;
        }
        let scopes: Vec<&str> = match &found.spec.export_to {
            ExportTo::Unwritten | ExportTo::All => vec!["*"],
            ExportTo::Only(namespaces) => namespaces.iter().map(|it| it.as_str()).collect(),
        };
        for scope in scopes {
            for host in &found.spec.hosts {
                let sharing = by_host.entry(format!("{scope}/{host}")).or_default();
                sharing.push(found);
            }
        }
    }
    for (host, sharing) in by_host {
        if sharing.len() < 2 {
            continue;
        }
        let names: Vec<_> = sharing.iter().map(Found::full_name).collect();
        let text = format!(
            "The VirtualServices {} associated with mesh gateway define the same host {host} which can lead to undefined behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.",
            names.join(","),
        );
        for found in &sharing {
            let code = Code::ConflictingMeshGatewayVirtualServiceHosts;
            context.report(code, found, &metadata_name(), text.clone());
        }
    }
}
