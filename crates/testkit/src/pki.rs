//! A certificate authority for one test: certificates by name, as files and as TLS configurations.
//!
//! In: names and what they stand for. Out: PEM, and rustls configurations of servers and clients.
//! Called by tests that speak TLS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

const WELL_FORMED: &str = "what this authority makes is well-formed";

/// An authority that signs what a test needs.
pub struct Pki {
    issuer: Issuer,
    /// Signed by `issuer`.
    between: Issuer,
    /// Known to nobody.
    stranger: Issuer,
    certificates: Vec<(String, Certificate)>,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

struct Certificate {
    chain_pem: String,
    key_pem: String,
    der: Vec<u8>,
}

/// What is special about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Usual,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// An authority signed it that nobody knows.
    Foreign,
    /// An authority that the first one vouches for signed it; the chain has both.
    Chained,
    /// Nobody but itself signed it.
    SelfSigned,
    /// It is on the list of revoked ones, `crl.pem`.
    Revoked,
}

/// How a client speaks TLS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speaking<'a> {
    /// The certificate that it shows when asked.
    pub certificate: Option<&'a str>,
    /// The protocols that it offers.
    pub alpn: &'a [&'a str],
    /// The only versions that it speaks; all unless given.
    pub versions: &'a [&'static SupportedProtocolVersion],
    /// It takes any server.
    pub trusting: bool,
}

/// The serial number of certificates on the list of revoked ones.
const REVOKED: u64 = 4711;

impl Pki {
    /// An authority without certificates.
    #[must_use]
    pub fn new() -> Self {
        let own = |name| {
            let (params, key) = authority(name);
            CertifiedIssuer::self_signed(params, key).expect(WELL_FORMED)
        };
        let issuer = own("testkit");
        let (params, key) = authority("between");
        Self {
            between: CertifiedIssuer::signed_by(params, key, &issuer).expect(WELL_FORMED),
            stranger: own("stranger"),
            issuer,
            certificates: Vec::new(),
        }
    }

    /// Signs a certificate whose subject is `CN=name` for alternative names: those with `://` are
    /// URIs, those that parse are addresses, others DNS names.
    ///
    /// # Panics
    /// When an alternative name is malformed.
    #[must_use]
    pub fn with<'a>(self, name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_special(Kind::Usual, name, names)
    }

    /// Signs a certificate as [`Self::with`] does, of a special kind. Names with `@` are mail
    /// addresses.
    ///
    /// # Panics
    /// When an alternative name is malformed.
    #[must_use]
    pub fn with_special<'a>(
        mut self,
        kind: Kind,
        name: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = names.into_iter().map(alternative).collect();
        let key = KeyPair::generate().expect(WELL_FORMED);
        match kind {
            Kind::Expired => {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2020, 1, 2);
            }
            Kind::NotYetValid => {
                params.not_before = date_time_ymd(4000, 1, 1);
                params.not_after = date_time_ymd(4001, 1, 1);
            }
            Kind::Revoked => params.serial_number = Some(SerialNumber::from(REVOKED)),
            Kind::Usual | Kind::Foreign | Kind::Chained | Kind::SelfSigned => {}
        }
        let signed = match kind {
            Kind::Foreign => params.signed_by(&key, &self.stranger),
            Kind::Chained => params.signed_by(&key, &self.between),
            Kind::SelfSigned => params.self_signed(&key),
            Kind::Usual | Kind::Expired | Kind::NotYetValid | Kind::Revoked => {
                params.signed_by(&key, &self.issuer)
            }
        }
        .expect(WELL_FORMED);
        let between = if kind == Kind::Chained {
            self.between.pem()
        } else {
            String::new()
        };
        let certificate = Certificate {
            chain_pem: signed.pem() + &between,
            key_pem: key.serialize_pem(),
            der: signed.der().to_vec(),
        };
        self.certificates.push((name.to_owned(), certificate));
        self
    }

    /// Writes `ca.pem`, `foreign-ca.pem`, the list of revoked certificates as `crl.pem`, and `NAME.pem` and `NAME-key.pem` for each certificate.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::write(directory.join("ca.pem"), self.issuer.pem())?;
        std::fs::write(directory.join("foreign-ca.pem"), self.stranger.pem())?;
        let revoked = |issuer: &Issuer, serials: &[u64]| {
            let list = revocation_list(serials).signed_by(issuer);
            list.and_then(|list| list.pem()).expect(WELL_FORMED)
        };
        let lists = revoked(&self.issuer, &[REVOKED]) + &revoked(&self.between, &[]);
        std::fs::write(directory.join("crl.pem"), lists)?;
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
        self.client_speaking(Speaking {
            certificate: name,
            alpn,
            ..Speaking::default()
        })
    }

    /// A client that speaks TLS in this way.
    ///
    /// # Panics
    /// When there is no such certificate.
    #[must_use]
    pub fn client_speaking(&self, speaking: Speaking<'_>) -> Arc<ClientConfig> {
        let Speaking {
            certificate,
            alpn,
            versions,
            trusting,
        } = speaking;
        let builder = if versions.is_empty() {
            ClientConfig::builder()
        } else {
            ClientConfig::builder_with_protocol_versions(versions)
        };
        let builder = if trusting {
            let anything = Arc::new(Anything);
            builder
                .dangerous()
                .with_custom_certificate_verifier(anything)
        } else {
            builder.with_root_certificates(self.roots())
        };
        let mut config = match certificate {
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

    /// The certificate of this name, in DER.
    ///
    /// # Panics
    /// When there is no such certificate.
    #[must_use]
    pub fn der(&self, wanted: &str) -> &[u8] {
        let found = self.certificates.iter().find(|(name, _)| name == wanted);
        let (_, certificate) = found.unwrap_or_else(|| panic!("no certificate {wanted}"));
        &certificate.der
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

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params, KeyPair::generate().expect(WELL_FORMED))
}

fn revocation_list(serials: &[u64]) -> CertificateRevocationListParams {
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2200, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// Takes any server.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn alternative(name: &str) -> SanType {
    if name.contains('@') {
        return SanType::Rfc822Name(name.try_into().expect("an ASCII name"));
    }
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
