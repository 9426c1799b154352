//! The environment, read here and nowhere else.
//!
//! In: environment variables. Out: [`Environment`], values as meant. Commands let flags go before it.

#![allow(
    clippy::disallowed_methods,
    reason = "this is the one place that reads environment variables"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables that the processes of `up` inherit: what a program needs to run at all.
const INHERITED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "XDG_RUNTIME_DIR",
];

/// The environment of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `NO_COLOR`: no colour, whatever the terminal.
    pub no_color: bool,
    /// `MELTEMI_DISCOVERY`: the control plane's debug address.
    pub discovery: Option<String>,
    /// `MELTEMI_STATE_DIR`: the directory of the mesh that `up` runs.
    pub state_dir: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
}

/// What an agent is told by its environment, under the names of Istio's agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentEnvironment {
    /// `POD_NAME`.
    pub pod_name: Option<String>,
    /// `POD_NAMESPACE`.
    pub pod_namespace: Option<String>,
    /// `INSTANCE_IP`; the first, where there are several.
    pub instance_ip: Option<String>,
    /// `SERVICE_ACCOUNT`.
    pub service_account: Option<String>,
    /// `ISTIO_META_WORKLOAD_NAME`.
    pub workload_name: Option<String>,
    /// `ISTIO_METAJSON_LABELS`: a JSON object.
    pub labels: Option<String>,
    /// `ISTIO_META_CLUSTER_ID`.
    pub cluster_id: Option<String>,
    /// `ISTIO_META_INTERCEPTION_MODE`.
    pub interception: Option<String>,
    /// `TRUST_DOMAIN`.
    pub trust_domain: Option<String>,
    /// `MELTEMI_APP_ADDRESS`.
    pub app_address: Option<String>,
    /// `ISTIO_META_*` and `ISTIO_METAJSON_*`, all of them: what the proxy says of itself.
    pub metadata: BTreeMap<String, String>,
    /// `PROXY_CONFIG`: Istio's ProxyConfig, in YAML or JSON.
    pub proxy_config: Option<String>,
    /// `MELTEMI_PROXY_CONFIG`: the same, of which the control plane is not told.
    pub own_proxy_config: Option<String>,
    /// `DNS_PROXY_ADDR`: `HOST:PORT`.
    pub dns_address: Option<String>,
    /// `SECRET_TTL`: a Go duration.
    pub secret_ttl: Option<String>,
    /// `SECRET_GRACE_PERIOD_RATIO`: a number from 0 to 1.
    pub secret_grace_period_ratio: Option<String>,
    /// `SECRET_GRACE_PERIOD_RATIO_JITTER`: the same.
    pub secret_grace_period_ratio_jitter: Option<String>,
    /// `ECC_SIGNATURE_ALGORITHM`: `ECDSA`, or nothing.
    pub ecc_signature_algorithm: Option<String>,
    /// `ECC_CURVE`: `P256` or `P384`.
    pub ecc_curve: Option<String>,
    /// `WORKLOAD_RSA_KEY_SIZE`: bits.
    pub workload_rsa_key_size: Option<String>,
}

/// What the control plane is told by its environment, under the names of istiod.
#[derive(Debug, Clone, Default)]
pub(crate) struct DiscoveryEnvironment {
    /// `PILOT_DEBOUNCE_AFTER`: a Go duration.
    pub debounce_after: Option<String>,
    /// `PILOT_DEBOUNCE_MAX`: a Go duration.
    pub debounce_max: Option<String>,
    /// `PILOT_PUSH_THROTTLE`: a number.
    pub push_throttle: Option<String>,
    /// `DEFAULT_WORKLOAD_CERT_TTL`: a Go duration.
    pub default_workload_cert_ttl: Option<String>,
    /// `MAX_WORKLOAD_CERT_TTL`: a Go duration.
    pub max_workload_cert_ttl: Option<String>,
    /// `TOKEN_AUDIENCES`: audiences with commas between them.
    pub token_audiences: Option<String>,
    /// `PILOT_MAX_REQUESTS_PER_SECOND`: a number.
    pub max_requests: Option<String>,
    /// `PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER`: `true` or `false`.
    pub headless_by_range: Option<String>,
    /// `JWT_RULE`: Istio's JWTRule, in JSON.
    pub jwt_rule: Option<String>,
    /// `REVISION`: the control plane's.
    pub revision: Option<String>,
    /// `PILOT_WORKLOAD_ENTRY_GRACE_PERIOD`: a Go duration.
    pub registration_grace: Option<String>,
    /// `POD_NAME`, else `HOSTNAME`.
    pub instance: Option<String>,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, as every Pod has them.
    pub kubernetes_service: (Option<String>, Option<String>),
}

impl Environment {
    pub(crate) fn read() -> Self {
        Self {
            no_color: variable("NO_COLOR").is_some(),
            discovery: variable("MELTEMI_DISCOVERY"),
            state_dir: variable("MELTEMI_STATE_DIR").map(PathBuf::from),
            runtime_dir: variable("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }
}

impl AgentEnvironment {
    pub(crate) fn read() -> Self {
        let first = |addresses: String| addresses.split(',').next().map(str::to_owned);
        Self {
            pod_name: variable("POD_NAME"),
            pod_namespace: variable("POD_NAMESPACE"),
            instance_ip: variable("INSTANCE_IP").and_then(first),
            service_account: variable("SERVICE_ACCOUNT"),
            workload_name: variable("ISTIO_META_WORKLOAD_NAME"),
            labels: variable("ISTIO_METAJSON_LABELS"),
            cluster_id: variable("ISTIO_META_CLUSTER_ID"),
            interception: variable("ISTIO_META_INTERCEPTION_MODE"),
            trust_domain: variable("TRUST_DOMAIN"),
            app_address: variable("MELTEMI_APP_ADDRESS"),
            metadata: beginning("ISTIO_META"),
            proxy_config: variable("PROXY_CONFIG"),
            own_proxy_config: variable("MELTEMI_PROXY_CONFIG"),
            dns_address: variable("DNS_PROXY_ADDR"),
            secret_ttl: variable("SECRET_TTL"),
            secret_grace_period_ratio: variable("SECRET_GRACE_PERIOD_RATIO"),
            secret_grace_period_ratio_jitter: variable("SECRET_GRACE_PERIOD_RATIO_JITTER"),
            ecc_signature_algorithm: variable("ECC_SIGNATURE_ALGORITHM"),
            ecc_curve: variable("ECC_CURVE"),
            workload_rsa_key_size: variable("WORKLOAD_RSA_KEY_SIZE"),
        }
    }
}

impl DiscoveryEnvironment {
    pub(crate) fn read() -> Self {
        Self {
            debounce_after: variable("PILOT_DEBOUNCE_AFTER"),
            debounce_max: variable("PILOT_DEBOUNCE_MAX"),
            push_throttle: variable("PILOT_PUSH_THROTTLE"),
            default_workload_cert_ttl: variable("DEFAULT_WORKLOAD_CERT_TTL"),
            max_workload_cert_ttl: variable("MAX_WORKLOAD_CERT_TTL"),
            token_audiences: variable("TOKEN_AUDIENCES"),
            max_requests: variable("PILOT_MAX_REQUESTS_PER_SECOND"),
            headless_by_range: variable("PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER"),
            revision: variable("REVISION"),
            jwt_rule: variable("JWT_RULE"),
            registration_grace: variable("PILOT_WORKLOAD_ENTRY_GRACE_PERIOD"),
            instance: variable("POD_NAME").or_else(|| variable("HOSTNAME")),
            kubernetes_service: (
                variable("KUBERNETES_SERVICE_HOST"),
                variable("KUBERNETES_SERVICE_PORT"),
            ),
        }
    }
}

/// What the processes of `up` inherit.
pub(crate) fn inherited() -> BTreeMap<String, String> {
    let present = INHERITED
        .iter()
        .filter_map(|name| Some((*name, variable(name)?)));
    present
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The variables whose names begin so.
fn beginning(prefix: &str) -> BTreeMap<String, String> {
    let all = std::env::vars_os();
    let texts =
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// A variable by name, for the sample workload, which documents its own.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
