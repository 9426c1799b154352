//! Pod and Deployment as written.

use serde::Deserialize;

use crate::metadata::ObjectMeta;

/// `spec` of a Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    /// `replicas`.
    pub replicas: Option<i64>,
    /// `template`.
    pub template: PodTemplate,
}

/// PodTemplateSpec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// `metadata`.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: PodSpec,
}

/// PodSpec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `serviceAccountName`.
    pub service_account_name: Option<String>,
    /// `serviceAccount`, the deprecated spelling.
    pub service_account: Option<String>,
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `subdomain`.
    pub subdomain: Option<String>,
    /// `hostNetwork`.
    pub host_network: bool,
    /// `containers`.
    pub containers: Vec<Container>,
    /// `initContainers`, among which a sidecar may be.
    pub init_containers: Vec<Container>,
}

/// Container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `name`.
    pub name: String,
    /// `image`.
    pub image: String,
    /// `command`.
    pub command: Vec<String>,
    /// `args`.
    pub args: Vec<String>,
    /// `env`.
    pub env: Vec<EnvVar>,
    /// `workingDir`.
    pub working_dir: Option<String>,
    /// `ports`.
    pub ports: Vec<ContainerPort>,
}

/// ContainerPort.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// `name`.
    pub name: Option<String>,
    /// `containerPort`.
    pub container_port: Option<i64>,
    /// `protocol`.
    pub protocol: Option<String>,
}

/// EnvVar.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// `name`.
    pub name: String,
    /// `value`.
    pub value: Option<String>,
    /// `valueFrom`.
    pub value_from: Option<EnvVarSource>,
}

/// EnvVarSource.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    /// `fieldRef`.
    pub field_ref: Option<FieldRef>,
    /// `configMapKeyRef`.
    pub config_map_key_ref: Option<KeyRef>,
    /// `secretKeyRef`.
    pub secret_key_ref: Option<KeyRef>,
}

/// ObjectFieldSelector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    /// `fieldPath`.
    pub field_path: String,
}

/// ConfigMapKeySelector and SecretKeySelector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeyRef {
    /// `name`.
    pub name: String,
    /// `key`.
    pub key: String,
}

/// What servers and controllers write in the `metadata` of a Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// `deletionTimestamp`, RFC 3339.
    pub deletion_timestamp: Option<String>,
    /// `ownerReferences`.
    pub owner_references: Vec<OwnerReference>,
}

/// OwnerReference, the part that the mesh reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// `kind`.
    pub kind: String,
    /// `name`.
    pub name: String,
    /// `controller`.
    pub controller: bool,
}

/// `status` of a Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `phase`.
    pub phase: Option<String>,
    /// `podIP`.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// `podIPs`.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    /// `conditions`.
    pub conditions: Vec<PodCondition>,
}

/// PodIP.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIp {
    /// `ip`.
    pub ip: String,
}

/// PodCondition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// `type`.
    pub r#type: String,
    /// `status`.
    pub status: String,
}
