//! TLS: whether what the caller does is what the chain opens.

use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use meltemi_xds::pb::envoy::config::listener::v3::FilterChain;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;

use super::{Call, CallError, CallTls};

/// What the TLS of a chain must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedTls {
    /// There is some.
    Present,
    /// The first certificate over SDS has this name.
    Certificate(String),
    /// A client certificate is required, or not.
    RequiresClientCertificate(bool),
}

/// The TLS of a chain in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketSummary {
    /// The name of the first certificate over SDS.
    pub certificate: Option<String>,
    /// Whether a client certificate is required.
    pub requires_client_certificate: bool,
}

/// The TLS of a transport socket; `None` if it is not that of a listener.
pub fn socket_summary(socket: &TransportSocket) -> Option<SocketSummary> {
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else {
        return None;
    };
    let context: DownstreamTlsContext = any::unpack(config).ok()?;
    let certificates = context
        .common_tls_context?
        .tls_certificate_sds_secret_configs;
    Some(SocketSummary {
        certificate: certificates.into_iter().next().map(|it| it.name),
        requires_client_certificate: context.require_client_certificate.unwrap_or(false),
    })
}

/// Whether the caller's TLS meets what the chain opens.
pub(super) fn check(chain: &FilterChain, call: &Call) -> Result<(), CallError> {
    let Some(socket) = &chain.transport_socket else {
        return Ok(());
    };
    if call.tls == CallTls::Plaintext {
        return Err(CallError::Tls);
    }
    let summary = socket_summary(socket).ok_or(CallError::Broken)?;
    let wanted = call.mutual_certificate.as_deref().unwrap_or("default");
    let mutual =
        summary.certificate.as_deref() == Some(wanted) && summary.requires_client_certificate;
    if mutual != (call.tls == CallTls::Mutual) {
        return Err(CallError::MutualTls);
    }
    Ok(())
}

impl ExpectedTls {
    /// Whether a chain with this transport socket is as expected.
    pub(super) fn holds(&self, socket: Option<&TransportSocket>) -> bool {
        let summary = socket.and_then(socket_summary);
        match self {
            Self::Present => socket.is_some(),
            Self::Certificate(name) => summary.and_then(|it| it.certificate).as_ref() == Some(name),
            Self::RequiresClientCertificate(required) => {
                summary.is_some_and(|it| it.requires_client_certificate == *required)
            }
        }
    }
}
