//! Istio Gateway as written (`networking.istio.io`).

use std::collections::BTreeMap;

use serde::Deserialize;

/// `spec` of a Gateway.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// `servers`.
    pub servers: Vec<Server>,
    /// `selector`.
    pub selector: BTreeMap<String, String>,
}

/// Server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// `port`.
    pub port: Option<Port>,
    /// `bind`.
    pub bind: Option<String>,
    /// `hosts`.
    pub hosts: Vec<String>,
    /// `tls`.
    pub tls: Option<ServerTlsSettings>,
    /// `defaultEndpoint`.
    pub default_endpoint: Option<String>,
    /// `name`.
    pub name: Option<String>,
}

/// Port.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// `number`.
    pub number: Option<i64>,
    /// `protocol`.
    pub protocol: String,
    /// `name`.
    pub name: String,
    /// `targetPort`.
    pub target_port: Option<i64>,
}

/// ServerTLSSettings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTlsSettings {
    /// `httpsRedirect`.
    pub https_redirect: bool,
    /// `mode`.
    pub mode: Option<String>,
    /// `serverCertificate`.
    pub server_certificate: Option<String>,
    /// `privateKey`.
    pub private_key: Option<String>,
    /// `caCertificates`.
    pub ca_certificates: Option<String>,
    /// `caCrl`.
    pub ca_crl: Option<String>,
    /// `credentialName`.
    pub credential_name: Option<String>,
    /// `credentialNames`.
    pub credential_names: Vec<String>,
    /// `caCertCredentialName`.
    pub ca_cert_credential_name: Option<String>,
    /// `tlsCertificates`.
    pub tls_certificates: Vec<TlsCertificate>,
    /// `subjectAltNames`.
    pub subject_alt_names: Vec<String>,
    /// `verifyCertificateSpki`.
    pub verify_certificate_spki: Vec<String>,
    /// `verifyCertificateHash`.
    pub verify_certificate_hash: Vec<String>,
    /// `minProtocolVersion`.
    pub min_protocol_version: Option<String>,
    /// `maxProtocolVersion`.
    pub max_protocol_version: Option<String>,
    /// `cipherSuites`.
    pub cipher_suites: Vec<String>,
}

/// TLSCertificate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsCertificate {
    /// `serverCertificate`.
    pub server_certificate: Option<String>,
    /// `privateKey`.
    pub private_key: Option<String>,
    /// `caCertificates`.
    pub ca_certificates: Option<String>,
}
