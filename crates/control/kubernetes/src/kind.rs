//! What is watched.
//!
//! In: where the mesh configuration is. Out: for each kind, the paths under which a server may have it. Called by
//! `course`.

use meltemi_model::NamespaceName;

/// A kind of object that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchedKind {
    /// Its group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Its versions, the preferred one first.
    pub versions: &'static [&'static str],
    /// `kind`.
    pub kind: &'static str,
    /// Its name in paths and rules.
    pub plural: &'static str,
    /// Which of them.
    pub which: Which,
}

/// Which objects of a kind are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// All.
    All,
    /// Those of a field selector.
    Fields(&'static str),
    /// The one with the mesh configuration.
    MeshConfig,
}

/// Where the mesh configuration is.
#[derive(Debug, Clone)]
pub(crate) struct MeshConfigPlace {
    /// The root namespace.
    pub namespace: NamespaceName,
    /// The name of the ConfigMap.
    pub name: String,
}

/// Secrets that hold no certificate of a gateway: releases of Helm, which are many and large, tokens, and
/// passwords of registries.
const NOT_CERTIFICATES: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=kubernetes.io/dockercfg,type!=kubernetes.io/dockerconfigjson,\
    type!=bootstrap.kubernetes.io/token";

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const EVERY_NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const EVERY_SECURITY: &[&str] = &["v1", "v1beta1"];

/// Every kind.
pub(crate) const KINDS: &[WatchedKind] = &[
    core("Namespace", "namespaces"),
    core("Service", "services"),
    core("Pod", "pods"),
    core("Node", "nodes"),
    WatchedKind {
        which: Which::MeshConfig,
        ..core("ConfigMap", "configmaps")
    },
    WatchedKind {
        which: Which::Fields(NOT_CERTIFICATES),
        ..core("Secret", "secrets")
    },
    of(
        "discovery.k8s.io",
        &["v1"],
        "EndpointSlice",
        "endpointslices",
    ),
    of(NETWORKING, EVERY_NETWORKING, "Gateway", "gateways"),
    of(
        NETWORKING,
        EVERY_NETWORKING,
        "VirtualService",
        "virtualservices",
    ),
    of(
        NETWORKING,
        EVERY_NETWORKING,
        "DestinationRule",
        "destinationrules",
    ),
    of(
        NETWORKING,
        EVERY_NETWORKING,
        "ServiceEntry",
        "serviceentries",
    ),
    of(
        NETWORKING,
        EVERY_NETWORKING,
        "WorkloadEntry",
        "workloadentries",
    ),
    of(
        NETWORKING,
        EVERY_NETWORKING,
        "WorkloadGroup",
        "workloadgroups",
    ),
    of(NETWORKING, EVERY_NETWORKING, "Sidecar", "sidecars"),
    of(NETWORKING, &["v1alpha3"], "EnvoyFilter", "envoyfilters"),
    of(NETWORKING, &["v1beta1"], "ProxyConfig", "proxyconfigs"),
    of(
        SECURITY,
        EVERY_SECURITY,
        "AuthorizationPolicy",
        "authorizationpolicies",
    ),
    of(
        SECURITY,
        EVERY_SECURITY,
        "PeerAuthentication",
        "peerauthentications",
    ),
    of(
        SECURITY,
        EVERY_SECURITY,
        "RequestAuthentication",
        "requestauthentications",
    ),
    of(
        "telemetry.istio.io",
        &["v1", "v1alpha1"],
        "Telemetry",
        "telemetries",
    ),
];

const fn core(kind: &'static str, plural: &'static str) -> WatchedKind {
    of("", &["v1"], kind, plural)
}

const fn of(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
) -> WatchedKind {
    WatchedKind {
        group,
        versions,
        kind,
        plural,
        which: Which::All,
    }
}

impl WatchedKind {
    /// Whether being without them lets somebody in who is to be kept out.
    pub fn guards(&self) -> bool {
        self.group == SECURITY
    }

    /// As rules and people name it: `gateways.networking.istio.io`, `services`.
    pub fn name(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `apiVersion` at one of its versions.
    pub fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Where a server has them at one of their versions, as a path with the beginning of a query.
    pub fn path(&self, version: &str, mesh_config: &MeshConfigPlace) -> String {
        let prefix = if self.group.is_empty() { "api" } else { "apis" };
        let place = self.api_version(version);
        let plural = self.plural;
        match self.which {
            Which::All => format!("/{prefix}/{place}/{plural}?"),
            Which::Fields(fields) => {
                let fields = escape(fields);
                format!("/{prefix}/{place}/{plural}?fieldSelector={fields}&")
            }
            Which::MeshConfig => {
                let MeshConfigPlace { namespace, name } = mesh_config;
                let (namespace, fields) = (namespace.as_str(), format!("metadata.name={name}"));
                let fields = escape(&fields);
                format!("/{prefix}/{place}/namespaces/{namespace}/{plural}?fieldSelector={fields}&")
            }
        }
    }
}

/// A text as the value of a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
