//! The settings that a proxy says it was started with.
//!
//! In: the node metadata `PROXY_CONFIG` as JSON, which whoever starts a stock Envoy writes: Istio's
//! ProxyConfig, in which everything that holds for the proxy is laid over one another already. Out:
//! [`ProxyConfigPatch`] for a control plane, and the probe that an agent makes. Called by `translate`, and
//! by the command that runs the agent.

use meltemi_api::{FieldPath, Segment, Strictness};

use super::{ProxyConfigPatch, convert_proxy};
use crate::check::Check;
use crate::{Defaults, Probe};

/// What a control plane goes by; the rest is the agent's affair.
const READ: [&str; 3] = ["gatewayTopology", "proxyHeaders", "interceptionMode"];
/// What an agent goes by, of what is checked here.
const PROBE: &str = "readinessProbe";

/// Reads the settings. Fields of which nothing is known here, and those that are an agent's, are
/// passed over.
///
/// # Errors
/// What is wrong with a field that decides what the proxy is sent.
pub fn proxy_config_of_node(json: &str) -> Result<ProxyConfigPatch, String> {
    read(json, &READ)
}

/// Reads the probe of an agent's settings, `readinessProbe`, and nothing else of them.
///
/// # Errors
/// What is wrong with it.
pub fn readiness_probe_of_agent(json: &str) -> Result<Option<Probe>, String> {
    Ok(read(json, &[PROBE])?.readiness_probe)
}

/// Reads the settings; what is wrong with one of `names` refuses them.
fn read(json: &str, names: &[&str]) -> Result<ProxyConfigPatch, String> {
    let documents = meltemi_api::parse(None, json).map_err(|it| it.message)?;
    let Some(document) = documents.into_iter().next() else {
        return Ok(ProxyConfigPatch::default());
    };
    let defaults = Defaults::default();
    let mut check = Check::new(&defaults.namespace, &defaults);
    let decoded = document.whole(Strictness::Lenient);
    let patch = convert_proxy::convert(decoded.value, &FieldPath::root(), &mut check);
    let is_read = |path: &FieldPath| match path.segments().first() {
        Some(Segment::Field(name)) => names.contains(&name.as_str()),
        Some(Segment::Key(_) | Segment::Index(_)) | None => false,
    };
    let of_form = decoded.faults.into_iter();
    let of_value = check
        .into_faults()
        .into_iter()
        .map(|it| (it.path, it.message));
    let mut faults = of_form.chain(of_value).filter(|(path, _)| is_read(path));
    match faults.next() {
        Some((path, message)) => Err(format!("{path}: {message}")),
        None => Ok(patch),
    }
}
