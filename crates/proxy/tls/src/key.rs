//! Our own certificates: PEM enters, what `rustls` signs with leaves.

use std::sync::Arc;

use meltemi_ir::TlsCertificate;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{CertificateInfo, TlsError, san};

/// A certificate chain with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    pub(crate) info: Arc<CertificateInfo>,
}

impl Certificate {
    /// Reads chain and key; `path` names them in errors.
    ///
    /// # Errors
    /// When either cannot be read or they do not belong together.
    pub(crate) fn read(pem: &TlsCertificate, path: &str) -> Result<Self, TlsError> {
        let TlsCertificate { chain_pem, key_pem } = pem;
        let fault = |reason: String| TlsError::Material {
            path: path.to_owned(),
            reason,
        };
        let chain = certificates(chain_pem)
            .map_err(|reason| fault(format!("certificate_chain: {reason}")))?;
        let info = CertificateInfo::read(&chain[0])
            .ok_or_else(|| fault("certificate_chain: no X.509 certificate".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|error| fault(format!("private_key: {error}")))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| fault(format!("private_key: {error}")))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(fault(format!("private_key: {error}"))),
        }
        Ok(Self {
            key: Arc::new(key),
            info: Arc::new(info),
        })
    }
}

/// Offers the first certificate that the peer can verify, preferring one for its host name.
#[derive(Debug)]
pub(crate) struct Resolver(pub(crate) Vec<Arc<Certificate>>);

impl Resolver {
    fn choose(&self, schemes: &[SignatureScheme], host: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let fitting = || {
            self.0
                .iter()
                .filter(|certificate| certificate.key.key.choose_scheme(schemes).is_some())
        };
        let named = host.and_then(|host| {
            fitting().find(|certificate| {
                let names = &certificate.info.dns_sans;
                names.iter().any(|name| san::dns_matches(name, host))
            })
        });
        named
            .or_else(|| fitting().next())
            .map(|certificate| certificate.key.clone())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.signature_schemes(), hello.server_name())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.choose(schemes, None)
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Trust anchors of a PEM bundle.
///
/// # Errors
/// When one of them cannot be read: trusting some would hide that others are not trusted.
pub(crate) fn trust_anchors(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let fault = |reason: String| TlsError::Material {
        path: "validation_context.trusted_ca".to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(fault)? {
        roots
            .add(certificate)
            .map_err(|error| fault(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(chain)
}
