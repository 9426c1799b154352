//! The kinds that are defined: their groups, versions, names and columns.
//!
//! In: nothing. Out: [`DEFINITIONS`]. Names, versions and columns are those of Istio's own
//! definitions, so that either can stand in the other's place.

use meltemi_api::authorization_policy::AuthorizationPolicySpec;
use meltemi_api::destination_rule::DestinationRuleSpec;
use meltemi_api::envoy_filter::EnvoyFilterSpec;
use meltemi_api::gateway::GatewaySpec;
use meltemi_api::peer_authentication::PeerAuthenticationSpec;
use meltemi_api::proxy_config::ProxyConfigSpec;
use meltemi_api::request_authentication::RequestAuthenticationSpec;
use meltemi_api::service_entry::{ServiceEntrySpec, WorkloadEntrySpec, WorkloadGroupSpec};
use meltemi_api::sidecar::SidecarSpec;
use meltemi_api::telemetry::TelemetrySpec;
use meltemi_api::virtual_service::VirtualServiceSpec;
use meltemi_api::{Schema, schema_of};

use super::rules::{self, Rule};

/// A kind.
pub(super) struct Definition {
    pub kind: &'static str,
    pub group: &'static str,
    /// The first is the one that is stored.
    pub versions: &'static [&'static str],
    pub plural: &'static str,
    pub short_names: &'static [&'static str],
    /// What `kubectl get` shows: name, path, type.
    pub columns: &'static [(&'static str, &'static str, &'static str)],
    pub schema: fn() -> Schema,
    pub rules: &'static [Rule],
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const NETWORKING_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const AGE: (&str, &str, &str) = ("Age", ".metadata.creationTimestamp", "date");

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        kind: "AuthorizationPolicy",
        group: SECURITY,
        versions: &["v1", "v1beta1"],
        plural: "authorizationpolicies",
        short_names: &["ap"],
        columns: &[("Action", ".spec.action", "string"), AGE],
        schema: schema_of::<AuthorizationPolicySpec>,
        rules: rules::AUTHORIZATION_POLICY,
    },
    Definition {
        kind: "DestinationRule",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "destinationrules",
        short_names: &["dr"],
        columns: &[("Host", ".spec.host", "string"), AGE],
        schema: schema_of::<DestinationRuleSpec>,
        rules: rules::DESTINATION_RULE,
    },
    Definition {
        kind: "EnvoyFilter",
        group: NETWORKING,
        versions: &["v1alpha3"],
        plural: "envoyfilters",
        short_names: &[],
        columns: &[],
        schema: schema_of::<EnvoyFilterSpec>,
        rules: rules::ENVOY_FILTER,
    },
    Definition {
        kind: "Gateway",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "gateways",
        short_names: &["gw"],
        columns: &[],
        schema: schema_of::<GatewaySpec>,
        rules: rules::GATEWAY,
    },
    Definition {
        kind: "PeerAuthentication",
        group: SECURITY,
        versions: &["v1", "v1beta1"],
        plural: "peerauthentications",
        short_names: &["pa"],
        columns: &[("Mode", ".spec.mtls.mode", "string"), AGE],
        schema: schema_of::<PeerAuthenticationSpec>,
        rules: rules::PEER_AUTHENTICATION,
    },
    Definition {
        kind: "ProxyConfig",
        group: NETWORKING,
        versions: &["v1beta1"],
        plural: "proxyconfigs",
        short_names: &[],
        columns: &[],
        schema: schema_of::<ProxyConfigSpec>,
        rules: rules::PROXY_CONFIG,
    },
    Definition {
        kind: "RequestAuthentication",
        group: SECURITY,
        versions: &["v1", "v1beta1"],
        plural: "requestauthentications",
        short_names: &["ra"],
        columns: &[],
        schema: schema_of::<RequestAuthenticationSpec>,
        rules: rules::REQUEST_AUTHENTICATION,
    },
    Definition {
        kind: "ServiceEntry",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "serviceentries",
        short_names: &["se"],
        columns: &[
            ("Hosts", ".spec.hosts", "string"),
            ("Location", ".spec.location", "string"),
            ("Resolution", ".spec.resolution", "string"),
            AGE,
        ],
        schema: schema_of::<ServiceEntrySpec>,
        rules: rules::SERVICE_ENTRY,
    },
    Definition {
        kind: "Sidecar",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "sidecars",
        short_names: &[],
        columns: &[],
        schema: schema_of::<SidecarSpec>,
        rules: rules::SIDECAR,
    },
    Definition {
        kind: "Telemetry",
        group: "telemetry.istio.io",
        versions: &["v1", "v1alpha1"],
        plural: "telemetries",
        short_names: &["telemetry"],
        columns: &[AGE],
        schema: schema_of::<TelemetrySpec>,
        rules: rules::TELEMETRY,
    },
    Definition {
        kind: "VirtualService",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "virtualservices",
        short_names: &["vs"],
        columns: &[
            ("Gateways", ".spec.gateways", "string"),
            ("Hosts", ".spec.hosts", "string"),
            AGE,
        ],
        schema: schema_of::<VirtualServiceSpec>,
        rules: rules::VIRTUAL_SERVICE,
    },
    Definition {
        kind: "WorkloadEntry",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "workloadentries",
        short_names: &["we"],
        columns: &[AGE, ("Address", ".spec.address", "string")],
        schema: schema_of::<WorkloadEntrySpec>,
        rules: rules::WORKLOAD_ENTRY,
    },
    Definition {
        kind: "WorkloadGroup",
        group: NETWORKING,
        versions: NETWORKING_VERSIONS,
        plural: "workloadgroups",
        short_names: &["wg"],
        columns: &[AGE],
        schema: schema_of::<WorkloadGroupSpec>,
        rules: rules::WORKLOAD_GROUP,
    },
];
