//! Workloads: from written Pods and Deployments to valid.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::FieldPath;
use meltemi_api::kubernetes::{
    self as api, DeploymentSpec, PodMetadata, PodSpec, PodStatus, PodTemplate,
};

use super::{
    Container, ContainerPort, Deployment, EnvVar, Locality, Node, Owner, OwnerKind, Workload,
    WorkloadRole,
};
use crate::check::{Check, filled};
use crate::metadata::{self, annotation};
use crate::{Injection, Metadata, ProxyConfigPatch, StartSettingsPatch};

const PROXY_CONTAINER: &str = "istio-proxy";
const INJECT: &str = "sidecar.istio.io/inject";
const TEMPLATES: &str = "inject.istio.io/templates";
/// The annotation with the settings of a workload's proxy.
pub(crate) const PROXY_CONFIG: &str = "proxy.istio.io/config";

/// Checks a Pod.
pub(crate) fn convert_pod(
    meta: Metadata,
    object: &PodMetadata,
    spec: PodSpec,
    status: PodStatus,
    check: &mut Check<'_>,
) -> Workload {
    let PodStatus {
        phase,
        pod_ip,
        pod_ips,
        conditions,
    } = status;
    let owner = owner_of_pod(&meta, &object.owner_references);
    let root = FieldPath::root();
    let mut workload = convert_template(meta, spec, owner, &root.field("spec"), check);
    let at = root.field("status");
    // Whoever has ended keeps the record of an address that is somebody else's by now.
    if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
        workload.ready = false;
        return workload;
    }
    let mut written = Vec::new();
    if let Some(ip) = filled(pod_ip) {
        written.push((at.field("podIP"), ip));
    }
    for (index, api::PodIp { ip }) in pod_ips.into_iter().enumerate() {
        written.push((at.field("podIPs").index(index).field("ip"), ip));
    }
    for (at, text) in written {
        match text.parse::<IpAddr>() {
            Ok(ip) if workload.addresses.contains(&ip) => {}
            Ok(ip) => workload.addresses.push(ip),
            Err(_) => check.invalid(&at, format!("`{text}` is not an IP address")),
        }
    }
    let ready = conditions
        .iter()
        .find(|condition| condition.r#type == "Ready");
    let leaving = object.deletion_timestamp.is_some();
    workload.ready = !leaving && ready.is_none_or(|condition| condition.status == "True");
    workload
}

/// Who asked for a Pod, as Istio names it: the controller; of a ReplicaSet, whose name ends with the
/// hash of its Pods' template, the Deployment.
fn owner_of_pod(meta: &Metadata, references: &[api::OwnerReference]) -> Owner {
    let Some(controller) = references.iter().find(|it| it.controller) else {
        return Owner {
            kind: OwnerKind::Pod,
            name: meta.name.clone(),
        };
    };
    let name = controller.name.as_str();
    let deployment = || {
        let hash = meta.labels.get("pod-template-hash")?;
        let name = name.strip_suffix(hash)?.strip_suffix('-')?;
        (controller.kind == "ReplicaSet").then_some(name)
    };
    match deployment() {
        Some(deployment) => Owner {
            kind: OwnerKind::Deployment,
            name: deployment.into(),
        },
        None => Owner {
            kind: OwnerKind::Pod,
            name: name.into(),
        },
    }
}

/// Checks a Deployment and makes its replicas.
pub(crate) fn convert_deployment(
    meta: Metadata,
    spec: DeploymentSpec,
    check: &mut Check<'_>,
) -> Deployment {
    let DeploymentSpec { replicas, template } = spec;
    let at = FieldPath::root().field("spec");
    let replicas = check
        .count(&at.field("replicas"), Some(replicas.unwrap_or(1)))
        .unwrap_or(0);
    let suffix = suffix(&template);
    let PodTemplate {
        metadata: mut written,
        spec,
    } = template;
    written.name = meta.name.to_string();
    let at_meta = at.field("template").field("metadata");
    let pod_meta = metadata::of_template(written, &at_meta, check);
    let owner = Owner {
        kind: OwnerKind::Deployment,
        name: meta.name.clone(),
    };
    let at_spec = at.field("template").field("spec");
    let pod = convert_template(pod_meta, spec, owner, &at_spec, check);
    let workloads = (0..replicas)
        .map(|n| {
            let mut workload = pod.clone();
            workload.meta.name = Arc::from(format!("{}-{suffix}-{n}", meta.name));
            if let Some((host, _)) = &mut workload.dns_name
                && *host == meta.name
            {
                host.clone_from(&workload.meta.name);
            }
            workload
        })
        .collect();
    Deployment { meta, workloads }
}

fn convert_template(
    meta: Metadata,
    spec: PodSpec,
    owner: Owner,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Workload {
    let PodSpec {
        service_account_name,
        service_account,
        node_name,
        hostname,
        subdomain,
        host_network,
        containers,
        init_containers,
    } = spec;
    let account = filled(service_account_name).or_else(|| filled(service_account));
    let templates = annotation(&meta.annotations, TEMPLATES).unwrap_or_default();
    let role = match templates
        .split(',')
        .any(|template| template.trim() == "gateway")
    {
        true => WorkloadRole::Gateway,
        false => WorkloadRole::Application,
    };
    if containers.is_empty() {
        check.invalid(&at.field("containers"), "at least one container is needed");
    }
    let written_proxy = containers
        .iter()
        .chain(&init_containers)
        .any(|container| container.name == PROXY_CONTAINER);
    let at_containers = at.field("containers");
    let containers = containers
        .into_iter()
        .enumerate()
        .filter(|(_, it)| role == WorkloadRole::Gateway || it.name != PROXY_CONTAINER)
        .map(|(index, it)| convert_container(it, &at_containers.index(index), check))
        .collect();
    let injection = match injection(&meta) {
        _ if host_network => Injection::Disabled,
        Injection::Unset if written_proxy => Injection::Enabled,
        asked => asked,
    };
    let host = filled(hostname).unwrap_or_else(|| meta.name.to_string());
    Workload {
        owner,
        service_account: account.unwrap_or_else(|| "default".to_owned()).into(),
        addresses: Vec::new(),
        application_address: None,
        containers,
        injection,
        role,
        locality: locality(&meta),
        node: filled(node_name),
        dns_name: filled(subdomain).map(|it| (host.into(), it.into())),
        network: meta
            .labels
            .get("topology.istio.io/network")
            .map(str::to_owned),
        ready: true,
        proxy_config: annotated(&meta),
        entry: None,
        meta,
    }
}

/// What annotations of its own say of the workload's proxy.
fn annotated(meta: &Metadata) -> Option<Arc<ProxyConfigPatch>> {
    let start = StartSettingsPatch::of_annotations(&meta.annotations);
    (start != StartSettingsPatch::default()).then(|| {
        Arc::new(ProxyConfigPatch {
            start,
            ..ProxyConfigPatch::default()
        })
    })
}

fn injection(meta: &Metadata) -> Injection {
    let asked = meta
        .labels
        .get(INJECT)
        .or_else(|| annotation(&meta.annotations, INJECT));
    match asked.and_then(metadata::boolean) {
        Some(true) => Injection::Enabled,
        Some(false) => Injection::Disabled,
        None if meta.labels.get("istio.io/rev").is_some() => Injection::Enabled,
        None => Injection::Unset,
    }
}

fn locality(meta: &Metadata) -> Option<Locality> {
    if let Some(text) = meta.labels.get("istio-locality") {
        // A label has no slashes, so Istio takes dots instead.
        let mut parts = text.split(['.', '/']).map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        return Some(Locality {
            region: next(),
            zone: next(),
            subzone: next(),
        });
    }
    topology(meta)
}

/// What the labels of topology say.
fn topology(meta: &Metadata) -> Option<Locality> {
    let label = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| meta.labels.get(key))
            .unwrap_or_default()
            .to_owned()
    };
    let found = Locality {
        region: label(&[
            "topology.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/region",
        ]),
        zone: label(&[
            "topology.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/zone",
        ]),
        subzone: label(&["topology.istio.io/subzone"]),
    };
    (found != Locality::default()).then_some(found)
}

/// Reads what the labels of a Node say.
pub(crate) fn convert_node(meta: Metadata) -> Node {
    let locality = topology(&meta);
    Node { meta, locality }
}

fn convert_container(written: api::Container, at: &FieldPath, check: &mut Check<'_>) -> Container {
    let api::Container {
        name,
        image,
        command,
        args,
        env,
        working_dir,
        ports,
    } = written;
    if name.is_empty() {
        check.invalid(&at.field("name"), "a container needs a name");
    }
    let at_env = at.field("env");
    let env = env
        .into_iter()
        .enumerate()
        .filter_map(|(index, it)| convert_variable(it, &at_env.index(index), check))
        .collect();
    let mut converted = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let api::ContainerPort {
            name,
            container_port,
            protocol,
        } = port;
        let at = at.field("ports").index(index).field("containerPort");
        if let Some(number) = check.port(&at, container_port.unwrap_or_default()) {
            let (name, udp) = (name.unwrap_or_default(), protocol.as_deref() == Some("UDP"));
            converted.push(ContainerPort { name, number, udp });
        }
    }
    let working_dir = filled(working_dir);
    Container {
        name,
        image,
        command,
        args,
        env,
        working_dir,
        ports: converted,
    }
}

fn convert_variable(written: api::EnvVar, at: &FieldPath, check: &mut Check<'_>) -> Option<EnvVar> {
    let api::EnvVar {
        name,
        value,
        value_from,
    } = written;
    if name.is_empty() {
        check.invalid(&at.field("name"), "a variable needs a name");
    }
    let Some(source) = value_from else {
        return Some(EnvVar::Value {
            name,
            value: value.unwrap_or_default(),
        });
    };
    let api::EnvVarSource {
        field_ref,
        config_map_key_ref,
        secret_key_ref,
    } = source;
    if let Some(api::FieldRef { field_path }) = field_ref {
        return Some(EnvVar::Field {
            name,
            field: field_path,
        });
    }
    if let Some(api::KeyRef {
        name: config_map,
        key,
    }) = config_map_key_ref
    {
        return Some(EnvVar::ConfigMapKey {
            name,
            config_map,
            key,
        });
    }
    // ignored: resourceFieldRef and the like name amounts that only a kubelet knows.
    let api::KeyRef { name: secret, key } = secret_key_ref?;
    Some(EnvVar::SecretKey { name, secret, key })
}

/// Ten characters that depend on the template alone, of those that Kubernetes uses in such names.
fn suffix(template: &PodTemplate) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // FNV-1a: the names must be the same in every run and every version of the standard library.
    let mut hash = format!("{template:?}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut text = String::with_capacity(10);
    for _ in 0..10 {
        let digit = usize::try_from(hash % 27).expect("below 27");
        text.push(char::from(ALPHABET[digit]));
        hash /= 27;
    }
    text
}
