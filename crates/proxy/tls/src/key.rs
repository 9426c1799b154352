//! Our own certificates: PEM enters, what `rustls` signs with leaves.

use std::sync::Arc;

use meltemi_ir::TlsCertificate;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
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
    pub(crate) fn read(
        pem: &TlsCertificate,
        path: &str,
        schemes: &[SignatureScheme],
    ) -> Result<Self, TlsError> {
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
        let key = if schemes.is_empty() {
            key
        } else {
            let restricted = Restricted {
                key: Arc::clone(&key.key),
                schemes: schemes.to_vec(),
            };
            CertifiedKey::new(key.cert, Arc::new(restricted))
        };
        Ok(Self {
            key: Arc::new(key),
            info: Arc::new(info),
        })
    }

    fn is_ecdsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::ECDSA
    }
}

/// A key that signs with some algorithms only.
#[derive(Debug)]
struct Restricted {
    key: Arc<dyn SigningKey>,
    schemes: Vec<SignatureScheme>,
}

impl SigningKey for Restricted {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let both = offered.iter().copied();
        let both: Vec<_> = both.filter(|it| self.schemes.contains(it)).collect();
        self.key.choose_scheme(&both)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    fn public_key(&self) -> Option<rustls_pki_types::SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }
}

/// Offers the first certificate that the peer can verify, preferring one for its host name, and of
/// several such one that is cheap to sign with.
#[derive(Debug)]
pub(crate) struct Resolver(pub(crate) Vec<Arc<Certificate>>);

impl Resolver {
    /// What the certificate says that this client is shown.
    pub(crate) fn info_for(&self, hello: &ClientHello<'_>) -> Option<Arc<CertificateInfo>> {
        let chosen = self.choose(hello.signature_schemes(), hello.server_name());
        chosen.map(|certificate| certificate.info.clone())
    }

    fn choose(&self, schemes: &[SignatureScheme], host: Option<&str>) -> Option<&Certificate> {
        let fitting = || {
            let all = self.0.iter().map(AsRef::as_ref);
            all.filter(|it: &&Certificate| it.key.key.choose_scheme(schemes).is_some())
        };
        let named = || {
            fitting().filter(|certificate| {
                let names = &certificate.info.dns_sans;
                host.is_some_and(|host| names.iter().any(|name| san::dns_matches(name, host)))
            })
        };
        named()
            .find(|certificate| certificate.is_ecdsa())
            .or_else(|| named().next())
            .or_else(|| fitting().next())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.choose(hello.signature_schemes(), hello.server_name());
        chosen.map(|certificate| certificate.key.clone())
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let chosen = self.choose(schemes, None);
        chosen.map(|certificate| certificate.key.clone())
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The certificates of a PEM text, at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    Ok(chain)
}
