//! TLS: who is shown which certificate, and whose is accepted.
//!
//! In: identities of workloads, settings of gateways and destination rules. Out: Envoy's TLS
//! contexts. [`upstream`] is for clusters, [`downstream`] for listeners; here is what both need.

pub(crate) mod downstream;
pub(crate) mod upstream;

use meltemi_model::{MeshConfig, ProviderKind};
use meltemi_xds::pb::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, DataSource, GrpcService, TransportSocket,
    api_config_source::ApiType, config_source::ConfigSourceSpecifier, data_source::Specifier,
    grpc_service, transport_socket::ConfigType,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
    SdsSecretConfig, SubjectAltNameMatcher, TlsCertificate, TlsParameters,
    common_tls_context::{
        CertificateProviderInstance, CombinedCertificateValidationContext, ValidationContextType,
    },
    subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};
use meltemi_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use prost::{Message, Name};

use crate::name::SubsetKey;
use crate::proto::{ads, matching, pack, zero};

/// The name of the workload's own certificate.
const WORKLOAD_CERTIFICATE: &str = "default";
/// What a gRPC library's bootstrap calls the provider of its certificates.
const GRPC_PROVIDER: &str = "default";
/// The name of the roots of the mesh.
const MESH_ROOTS: &str = "ROOTCA";
/// The secret with the authorities that the proxy's system trusts.
const SYSTEM_ROOTS: &str = "file-root:system";
/// The cluster of the bootstrap that leads to the agent's secret service.
const SDS_CLUSTER: &str = "sds-grpc";

/// What the name of a credential begins with that a provider has.
const EXTERNAL: &str = "sds://";

/// A TLS transport socket.
pub(crate) fn tls_socket<M: Message + Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(context))),
    }
}

/// A transport socket in plain text.
fn plain_socket() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&RawBuffer {}))),
    }
}

/// A secret that the agent beside the proxy serves.
fn agent_secret(name: &str) -> SdsSecretConfig {
    secret_of(SDS_CLUSTER.to_owned(), name)
}

/// A secret that is asked for at a cluster.
fn secret_of(cluster: String, name: &str) -> SdsSecretConfig {
    let service = grpc_service::EnvoyGrpc {
        cluster_name: cluster,
        ..Default::default()
    };
    let source = ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        set_node_on_first_message_only: true,
        grpc_services: vec![GrpcService {
            target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(service)),
            ..Default::default()
        }],
        ..Default::default()
    };
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource {
            initial_fetch_timeout: Some(zero()),
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
            ..Default::default()
        }),
    }
}

/// The versions of TLS towards upstreams; without them, Envoy speaks 1.2 and no later one as a client.
fn client_versions() -> TlsParameters {
    TlsParameters {
        tls_minimum_protocol_version: TlsProtocol::TlSv12.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        ..Default::default()
    }
}

/// The workload's certificate shown, a peer of the mesh with one of these names expected.
fn mutual(names: Vec<SubjectAltNameMatcher>, alpn: &[&str]) -> CommonTlsContext {
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: names,
            ..Default::default()
        }),
        validation_context_sds_secret_config: Some(agent_secret(MESH_ROOTS)),
        ..Default::default()
    };
    CommonTlsContext {
        tls_certificate_sds_secret_configs: vec![agent_secret(WORKLOAD_CERTIFICATE)],
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        alpn_protocols: alpn.iter().map(|&it| it.to_owned()).collect(),
        ..Default::default()
    }
}

/// The same for a gRPC library, which has certificates from what its bootstrap calls `default`, and
/// reads names from the field that came first (gRFC A29).
#[expect(
    deprecated,
    reason = "gRPC libraries read the older fields, some of them alone"
)]
pub(crate) fn grpc_mutual(names: Vec<StringMatcher>) -> CommonTlsContext {
    let provider = |name: &str| CertificateProviderPluginInstance {
        instance_name: GRPC_PROVIDER.to_owned(),
        certificate_name: name.to_owned(),
    };
    let older = |name: &str| CertificateProviderInstance {
        instance_name: GRPC_PROVIDER.to_owned(),
        certificate_name: name.to_owned(),
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_subject_alt_names: names,
            ca_certificate_provider_instance: Some(provider(MESH_ROOTS)),
            ..Default::default()
        }),
        validation_context_certificate_provider_instance: Some(older(MESH_ROOTS)),
        ..Default::default()
    };
    CommonTlsContext {
        tls_certificate_provider_instance: Some(provider(WORKLOAD_CERTIFICATE)),
        tls_certificate_certificate_provider_instance: Some(older(WORKLOAD_CERTIFICATE)),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..Default::default()
    }
}

/// A name that a peer's certificate must have.
fn peer_name(kind: SanType, pattern: MatchPattern) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(matching(pattern)),
        ..Default::default()
    }
}

/// A secret of Kubernetes, which the control plane serves to gateways.
fn credential_secret(mesh: &MeshConfig, name: &str) -> SdsSecretConfig {
    if let (Some(name), Some(cluster)) = (name.strip_prefix(EXTERNAL), secret_service(mesh)) {
        return secret_of(cluster, name);
    }
    SdsSecretConfig {
        name: credential_name(name),
        sds_config: Some(ads()),
    }
}

/// The cluster of the first provider that has credentials.
fn secret_service(mesh: &MeshConfig) -> Option<String> {
    mesh.extension_providers
        .iter()
        .find_map(|it| match &it.kind {
            ProviderKind::Secrets(service) => {
                let key = SubsetKey {
                    port: service.port,
                    subset: "",
                    host: service.host.as_str(),
                };
                Some(key.cluster())
            }
            _ => None,
        })
}

/// The name under which a gateway's credential is asked for.
pub(crate) fn credential_name(name: &str) -> String {
    format!("kubernetes://{name}")
}

/// The name of the secret with the roots that go with a credential.
pub(crate) fn ca_name(name: &str) -> String {
    format!("{name}-cacert")
}

/// A certificate and its key in files.
fn certificate_files(certificate: &str, key: &str) -> TlsCertificate {
    TlsCertificate {
        certificate_chain: Some(file(certificate)),
        private_key: Some(file(key)),
        ..Default::default()
    }
}

fn file(path: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::Filename(path.to_owned())),
        ..Default::default()
    }
}
