//! The support table: the state of every field of every kind.
//!
//! In: the `SUPPORT` rows that stand beside each conversion. Out: [`support()`], from which
//! `docs/support.md` is made. A test compares the rows with the fields of the types in `api`.

use crate::{
    Kind, authorization_policy, destination_rule, envoy_filter, gateway, mesh_config,
    peer_authentication, proxy_config, request_authentication, service_entry, sidecar, telemetry,
    virtual_service, workload_group,
};

/// A field, or a field with everything below it, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind of resource.
    pub kind: Kind,
    /// The field's path, lists as `[]` and maps as `[*]`. A row stands for all fields below it that
    /// have no row of their own.
    pub path: &'static str,
    /// What becomes of it.
    pub state: Support,
    /// What else is to be known; empty if nothing.
    pub note: &'static str,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Support {
    /// It is honoured.
    Supported,
    /// A resource that has it is refused.
    Rejected,
    /// It is accepted and changes nothing here.
    Harmless,
}

/// The whole table, by kind and in the order of the conversions.
pub fn support() -> Vec<Row> {
    [
        gateway::SUPPORT,
        virtual_service::SUPPORT,
        destination_rule::SUPPORT,
        service_entry::SUPPORT,
        workload_group::SUPPORT,
        sidecar::SUPPORT,
        peer_authentication::SUPPORT,
        envoy_filter::SUPPORT,
        proxy_config::SUPPORT,
        telemetry::SUPPORT,
        request_authentication::SUPPORT,
        authorization_policy::SUPPORT,
        mesh_config::SUPPORT,
        KUBERNETES,
    ]
    .concat()
}

/// Kubernetes' own kinds: what the mesh reads; everything else is the kubelet's business.
const KUBERNETES: &[Row] = &[
    supported(Kind::Namespace, "metadata.labels")
        .note("istio-injection, istio.io/rev, topology.istio.io/network"),
    supported(Kind::Node, "metadata.labels")
        .note("topology.kubernetes.io/region, topology.kubernetes.io/zone, topology.istio.io/subzone: for Pods that do not say where they are"),
    supported(Kind::Service, "spec")
        .note("type, clusterIP(s), externalName, selector, ports, publishNotReadyAddresses, trafficDistribution"),
    harmless(Kind::Service, "spec.*").note("other fields are accepted and not read"),
    supported(Kind::Service, "metadata.annotations").note("networking.istio.io/exportTo, networking.istio.io/traffic-distribution"),
    supported(Kind::EndpointSlice, "endpoints").note("addresses, conditions.ready, zone"),
    supported(Kind::EndpointSlice, "ports").note("name, port"),
    supported(Kind::Deployment, "spec").note("replicas, template"),
    harmless(Kind::Deployment, "spec.*").note("other fields are accepted and not read"),
    supported(Kind::Pod, "spec").note("serviceAccountName, nodeName, hostNetwork, containers"),
    supported(Kind::Pod, "status").note("podIP(s), conditions"),
    supported(Kind::Pod, "metadata.annotations")
        .note("proxy.istio.io/config (as `defaultConfig` of the mesh), inject.istio.io/templates, sidecar.istio.io/inject"),
    harmless(Kind::Pod, "spec.*").note("other fields are accepted and not read"),
    supported(Kind::ServiceAccount, "metadata"),
    supported(Kind::ConfigMap, "data"),
    supported(Kind::Secret, "data").note("tls.crt, tls.key, ca.crt, or cert, key, cacert"),
    supported(Kind::Secret, "stringData"),
];

pub(crate) const fn supported(kind: Kind, path: &'static str) -> Row {
    Row {
        kind,
        path,
        state: Support::Supported,
        note: "",
    }
}

pub(crate) const fn rejected(kind: Kind, path: &'static str) -> Row {
    Row {
        kind,
        path,
        state: Support::Rejected,
        note: "",
    }
}

pub(crate) const fn harmless(kind: Kind, path: &'static str) -> Row {
    Row {
        kind,
        path,
        state: Support::Harmless,
        note: "",
    }
}

impl Row {
    /// The row with a note.
    pub(crate) const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

impl Support {
    /// The state as one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Rejected => "rejected",
            Self::Harmless => "harmless",
        }
    }
}
