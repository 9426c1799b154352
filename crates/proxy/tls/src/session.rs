//! What a finished handshake agreed on, for logs, metrics and policy.

use std::sync::Arc;

use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use crate::signed::Signed;
use crate::{CertificateInfo, cipher};

/// What a finished handshake agreed on.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// Such as `TLSv1.3`.
    pub version: &'static str,
    /// OpenSSL's name, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The key exchange's group by its usual name, such as `X25519`.
    pub curve: &'static str,
    /// What the peer signed with, such as `ecdsa_secp256r1_sha256`.
    pub signature: &'static str,
    /// The server name that was sent, where a client's session it is.
    pub server_name: Option<String>,
    /// The application protocol agreed on.
    pub alpn: Option<String>,
    /// It was resumed from an earlier session.
    pub resumed: bool,
    /// What the peer's leaf certificate says, where it presented one.
    pub peer: Option<CertificateInfo>,
    /// The peer's chain in DER, leaf first.
    pub peer_chain: Vec<Vec<u8>>,
    /// The peer's chain leads to a trust anchor and its names were accepted.
    pub verified: bool,
    /// What our certificate says (the first, where there are several).
    pub local: Option<Arc<CertificateInfo>>,
}

impl SessionInfo {
    pub(crate) fn read(
        state: &CommonState,
        verifies: bool,
        signed: Option<&Signed>,
        local: Option<Arc<CertificateInfo>>,
    ) -> Self {
        let chain = state.peer_certificates().unwrap_or_default();
        Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "",
            },
            cipher: state
                .negotiated_cipher_suite()
                .map(|suite| cipher::openssl_name(suite.suite()))
                .unwrap_or_default(),
            curve: state
                .negotiated_key_exchange_group()
                .map(|group| cipher::group_name(group.name()))
                .unwrap_or_default(),
            signature: signed
                .zip(chain.first())
                .and_then(|(signed, leaf)| signed.with(leaf))
                .map(cipher::scheme_name)
                .unwrap_or_default(),
            server_name: None,
            alpn: state
                .alpn_protocol()
                .map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: chain.first().and_then(CertificateInfo::read),
            peer_chain: chain
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            verified: verifies && !chain.is_empty(),
            local,
        }
    }
}
