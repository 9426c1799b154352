//! Peer verification: the chain leads to a trust anchor, and the leaf bears an accepted name.
//!
//! A SPIFFE certificate has no DNS name, so the server name of a connection plays no part;
//! names are checked by SAN matchers only.

use std::sync::Arc;

use meltemi_ir::{SanMatch, ValidationContext};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{CertificateInfo, TlsError, key, san};

/// What a peer's certificate must fulfil.
#[derive(Debug)]
struct Rules {
    /// None where the chain is not verified.
    roots: Option<Arc<RootCertStore>>,
    sans: Vec<SanMatch>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Rules {
    fn new(
        validation: Option<&ValidationContext>,
        extra_sans: &[SanMatch],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let mut sans = extra_sans.to_vec();
        let mut roots = None;
        if let Some(ValidationContext {
            trusted_ca_pem,
            san_matchers,
        }) = validation
        {
            sans.extend_from_slice(san_matchers);
            if !trusted_ca_pem.is_empty() {
                roots = Some(Arc::new(key::trust_anchors(trusted_ca_pem)?));
            }
        }
        Ok(Self {
            roots,
            sans,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    fn check_names(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        if self.sans.is_empty() {
            return Ok(());
        }
        let certificate = CertificateInfo::read(leaf)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if san::accepts(&self.sans, &certificate) {
            return Ok(());
        }
        // The error that makes rustls send `certificate_unknown` or `bad_certificate`.
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier(Rules);

impl ServerVerifier {
    pub(crate) fn new(
        validation: Option<&ValidationContext>,
        extra_sans: &[SanMatch],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        Ok(Self(Rules::new(validation, extra_sans, provider)?))
    }

    /// Whether the chain is verified at all.
    pub(crate) fn verifies_chain(&self) -> bool {
        self.0.roots.is_some()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.0.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.0.algorithms.all,
            )?;
        }
        self.0.check_names(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    rules: Rules,
    /// None where the chain is not verified.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    required: bool,
}

impl ClientVerifier {
    pub(crate) fn new(
        validation: Option<&ValidationContext>,
        extra_sans: &[SanMatch],
        required: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let rules = Rules::new(validation, extra_sans, provider)?;
        let chain = match &rules.roots {
            None => None,
            Some(roots) => Some(
                WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                    .build()
                    .map_err(|error| TlsError::Material {
                        path: "validation_context.trusted_ca".to_owned(),
                        reason: error.to_string(),
                    })?,
            ),
        };
        Ok(Self {
            rules,
            chain,
            required,
        })
    }

    /// Whether the chain is verified at all.
    pub(crate) fn verifies_chain(&self) -> bool {
        self.chain.is_some()
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: they would tell everyone who connects which authorities are trusted.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.rules.check_names(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.rules.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.rules.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.algorithms.supported_schemes()
    }
}
