//! A certificate authority for one test: certificates by name, as files and as TLS configurations.
//!
//! In: names and what they stand for. Out: PEM, and rustls configurations of servers and clients.
//! Called by tests that speak TLS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

const WELL_FORMED: &str = "what this authority makes is well-formed";

/// An authority that signs what a test needs.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    certificates: Vec<(String, Certificate)>,
}

struct Certificate {
    chain_pem: String,
    key_pem: String,
}

impl Pki {
    /// An authority without certificates.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "testkit");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect(WELL_FORMED);
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect(WELL_FORMED),
            certificates: Vec::new(),
        }
    }

    /// Signs a certificate whose subject is `CN=name` for alternative names: those with `://` are
    /// URIs, those that parse are addresses, others DNS names.
    ///
    /// # Panics
    /// When an alternative name is malformed.
    #[must_use]
    pub fn with<'a>(mut self, name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names.into_iter().map(alternative).collect();
        let key = KeyPair::generate().expect(WELL_FORMED);
        let signed = params.signed_by(&key, &self.issuer).expect(WELL_FORMED);
        let certificate = Certificate {
            chain_pem: signed.pem(),
            key_pem: key.serialize_pem(),
        };
        self.certificates.push((name.to_owned(), certificate));
        self
    }

    /// Writes `ca.pem`, and `NAME.pem` and `NAME-key.pem` for each certificate.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::write(directory.join("ca.pem"), self.issuer.pem())?;
        for (name, certificate) in &self.certificates {
            std::fs::write(
                directory.join(format!("{name}.pem")),
                &certificate.chain_pem,
            )?;
            std::fs::write(
                directory.join(format!("{name}-key.pem")),
                &certificate.key_pem,
            )?;
        }
        Ok(())
    }

    /// A server with the certificate `name`; clients may show one of this authority.
    ///
    /// # Panics
    /// When there is no such certificate.
    #[must_use]
    pub fn server(&self, name: &str, alpn: &[&str]) -> Arc<ServerConfig> {
        let (chain, key) = self.parsed(name);
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.roots()))
            .allow_unauthenticated()
            .build()
            .expect(WELL_FORMED);
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect(WELL_FORMED);
        config.alpn_protocols = protocols(alpn);
        Arc::new(config)
    }

    /// A client that trusts this authority, and shows the certificate `name` when asked.
    ///
    /// # Panics
    /// When there is no such certificate.
    #[must_use]
    pub fn client(&self, name: Option<&str>, alpn: &[&str]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots());
        let mut config = match name {
            Some(name) => {
                let (chain, key) = self.parsed(name);
                builder
                    .with_client_auth_cert(chain, key)
                    .expect(WELL_FORMED)
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(alpn);
        Arc::new(config)
    }

    fn parsed(&self, wanted: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let found = self.certificates.iter().find(|(name, _)| name == wanted);
        let (_, certificate) = found.unwrap_or_else(|| panic!("no certificate {wanted}"));
        let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes());
        (
            chain.collect::<Result<_, _>>().expect(WELL_FORMED),
            key.expect(WELL_FORMED),
        )
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.issuer.pem().as_bytes());
        roots.add(authority.expect(WELL_FORMED)).expect(WELL_FORMED);
        roots
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

fn alternative(name: &str) -> SanType {
    if let Ok(address) = name.parse() {
        SanType::IpAddress(address)
    } else if name.contains("://") {
        SanType::URI(name.try_into().expect("an ASCII URI"))
    } else {
        SanType::DnsName(name.try_into().expect("an ASCII name"))
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|it| it.as_bytes().to_vec()).collect()
}
