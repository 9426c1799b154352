//! The environment of a container.
//!
//! In: `env` as written, and what the pod is. Out: variables with their values, and what could not be
//! had. The rules are Kubernetes': later entries win, `$(NAME)` stands for the value of an earlier
//! variable, `$$` for a dollar sign.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use meltemi_model::{EnvVar, Workload};

use super::Pod;

/// Values that live in other resources.
pub(crate) trait Values {
    /// The value of a key of a ConfigMap of the namespace.
    fn config_map(&self, namespace: &str, name: &str, key: &str) -> Option<String>;

    /// The value of a key of a Secret of the namespace.
    fn secret(&self, namespace: &str, name: &str, key: &str) -> Option<String>;
}

/// Adds `written` to `env`; what cannot be had is left out and told.
pub(super) fn extend(
    env: &mut BTreeMap<String, String>,
    written: &[EnvVar],
    pod: &Pod,
    values: &dyn Values,
) -> Vec<String> {
    let namespace = pod.workload.meta.namespace.as_str();
    let mut missing = Vec::new();
    for variable in written {
        let (name, value) = match variable {
            EnvVar::Value { name, value } => (name, Ok(expand(value, env))),
            EnvVar::Field { name, field } => (name, field_value(pod, field)),
            EnvVar::ConfigMapKey {
                name,
                config_map,
                key,
            } => {
                let found = values.config_map(namespace, config_map, key);
                let error = || format!("ConfigMap {namespace}/{config_map} has no key {key}");
                (name, found.ok_or_else(error))
            }
            EnvVar::SecretKey { name, secret, key } => {
                let found = values.secret(namespace, secret, key);
                let error = || format!("Secret {namespace}/{secret} has no text under {key}");
                (name, found.ok_or_else(error))
            }
        };
        match value {
            Ok(value) => {
                env.insert(name.clone(), value);
            }
            Err(reason) => missing.push(format!("variable {name}: {reason}")),
        }
    }
    missing
}

/// Replaces `$(NAME)` by the value of `NAME`; a reference to nothing stays as it is.
pub(super) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix('(').and_then(|it| it.split_once(')'));
        match reference.and_then(|(name, after)| Some((env.get(name)?, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

/// Where an application listens that was told to listen everywhere: on its own address, since all
/// pods share the machine. Anything that is not a list of such addresses stays as it is.
pub(super) fn listen_addresses(written: &str, ip: IpAddr) -> String {
    let placed = written.split(',').map(|entry| {
        let entry = entry.trim();
        let (host, port) = entry.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let everywhere = ["", "0.0.0.0", "[::]", "localhost", "127.0.0.1", "*"].contains(&host);
        Some(if everywhere {
            SocketAddr::new(ip, port).to_string()
        } else {
            entry.to_owned()
        })
    });
    let placed: Option<Vec<_>> = placed.collect();
    placed.map_or_else(|| written.to_owned(), |all| all.join(","))
}

/// The value of a field of the pod, as the downward API gives it.
fn field_value(pod: &Pod, field: &str) -> Result<String, String> {
    let Workload { meta, .. } = pod.workload.as_ref();
    let keyed = |prefix: &str| {
        let rest = field.strip_prefix(prefix)?;
        rest.strip_prefix("['")?.strip_suffix("']")
    };
    if let Some(key) = keyed("metadata.labels") {
        return Ok(meta.labels.get(key).unwrap_or_default().to_owned());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Ok(meta.annotation(key).unwrap_or_default().to_owned());
    }
    Ok(match field {
        "metadata.name" => meta.name.to_string(),
        "metadata.namespace" => meta.namespace.as_str().to_owned(),
        "status.podIP" | "status.podIPs" => pod.ip().to_string(),
        "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
        "spec.serviceAccountName" => pod.workload.service_account.to_string(),
        "spec.nodeName" => pod
            .workload
            .node
            .clone()
            .unwrap_or_else(|| "localhost".to_owned()),
        other => return Err(format!("field {other} is not known on this machine")),
    })
}
