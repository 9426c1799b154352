//! Which services a change may give other endpoints.
//!
//! In: what is there of a resource before and after it changes. Out: the places to join again. Used by
//! [`crate::Store`].

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{EndpointAddress, Kind, NamespaceName, ResourceId, Service, Workload};

use crate::Snapshot;
use crate::endpoint::Place;

/// What changed since the last commit, as far as endpoints depend on it.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    namespaces: BTreeSet<NamespaceName>,
    places: BTreeSet<Place>,
    workloads: Vec<Arc<Workload>>,
    /// The Kubernetes services whose slices changed.
    sliced: BTreeSet<(NamespaceName, Arc<str>)>,
}

impl Touched {
    /// Notes what is there of a resource; to be called before and after it changes.
    pub fn note(&mut self, snapshot: &Snapshot, id: &ResourceId) {
        let (namespace, name) = (&id.namespace, &id.name);
        match id.kind {
            Kind::Namespace => {
                self.namespaces.insert(NamespaceName::new(name.clone()));
            }
            Kind::Service => {
                let service = snapshot.services.get(namespace, name);
                self.places.extend(service.map(|it| place(it)));
            }
            Kind::ServiceEntry => {
                let entry = snapshot.services.entries.get(namespace, name);
                let services = entry.into_iter().flat_map(|it| it.services());
                self.places.extend(services.map(|it| place(&it)));
            }
            // The workloads of a Deployment are in its own namespace.
            Kind::Deployment | Kind::Pod | Kind::WorkloadEntry => {
                let workloads = snapshot.workloads.of_resource(id);
                self.workloads.extend(workloads.iter().cloned());
            }
            Kind::EndpointSlice => {
                let slice = snapshot.endpoint_slices.get(namespace, name);
                let service = slice.map(|it| (namespace.clone(), it.service.clone()));
                self.sliced.extend(service);
            }
            Kind::ServiceAccount
            | Kind::Node
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::Gateway
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::Sidecar
            | Kind::PeerAuthentication
            | Kind::EnvoyFilter
            | Kind::ProxyConfig
            | Kind::Telemetry
            | Kind::RequestAuthentication
            | Kind::AuthorizationPolicy
            | Kind::WorkloadGroup
            | Kind::MeshConfig => {}
        }
    }

    /// The places whose endpoints may differ, when services and workloads are as they will be.
    pub fn places(self, snapshot: &Snapshot) -> BTreeSet<Place> {
        let Self {
            namespaces,
            mut places,
            workloads,
            sliced,
        } = self;
        for namespace in &namespaces {
            let services = snapshot.services.in_namespace(namespace);
            places.extend(services.map(|it| place(it)));
            places.extend(snapshot.endpoints.places(namespace).cloned());
        }
        for workload in &workloads {
            let services = snapshot.services.in_namespace(&workload.meta.namespace);
            let may = services.filter(|it| may_have(snapshot, it, workload));
            places.extend(may.map(|it| place(it)));
        }
        for (namespace, name) in &sliced {
            let service = snapshot.services.get(namespace, name);
            places.extend(service.map(|it| place(it)));
        }
        places
    }
}

/// Whether a workload may be an endpoint of a service: it is selected, or a slice has its address.
fn may_have(snapshot: &Snapshot, service: &Service, workload: &Workload) -> bool {
    let selector = service.selector.as_ref();
    if selector.is_some_and(|it| it.selects(&workload.meta.labels)) {
        return true;
    }
    let meta = &service.meta;
    let entry = workload.entry.as_ref().map(|it| &it.address);
    let is_its = |ip| {
        workload.addresses.contains(ip)
            || matches!(entry, Some(EndpointAddress::Ip(own)) if own == ip)
    };
    snapshot
        .endpoint_slices
        .of_service(&meta.namespace, &meta.name)
        .iter()
        .flat_map(|it| &it.endpoints)
        .any(|it| it.addresses.iter().any(is_its))
}

fn place(service: &Service) -> Place {
    (service.meta.namespace.clone(), service.hostname.clone())
}
