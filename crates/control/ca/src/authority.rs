//! Signing: whose certificate, for which key, for how long.
//!
//! In: a signing key with its certificates, requests, identities. Out: chains in PEM. Pure, given
//! the key and the clock: no file, no socket. Called by `authorities`, which knows what is trusted.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use meltemi_lifecycle::Clock;
use meltemi_spiffe::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use crate::{ChainError, RequestError, chain, request};

/// How much earlier than now a certificate begins, for clocks that differ. Istio's figure.
const BACKDATE: Duration = Duration::from_secs(2 * 60);
/// How long a root made here is valid.
const ROOT_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long certificates are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Where the request does not say; Istio's `DEFAULT_WORKLOAD_CERT_TTL`, 24 hours.
    pub default: Duration,
    /// At most: who asks for more is refused; Istio's `MAX_WORKLOAD_CERT_TTL`, 90 days.
    pub maximum: Duration,
}

/// The certificates and the key of an authority, in PEM, by Istio's file names.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Material {
    /// `ca-cert.pem`: the certificate of the signing key.
    pub ca_cert: String,
    /// `ca-key.pem`: the signing key.
    pub ca_key: String,
    /// `cert-chain.pem`: from the signing certificate towards the root.
    pub cert_chain: String,
    /// `root-cert.pem`: what is trusted.
    pub root_cert: String,
}

/// A certificate authority.
pub struct CertificateAuthority {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    /// The signing certificate and those above it, without roots.
    intermediates: Vec<CertificateDer<'static>>,
    /// What is trusted, the root that the signing certificate leads to first.
    roots: Vec<CertificateDer<'static>>,
    root: RootInfo,
    not_after: SystemTime,
    validity: Validity,
    clock: Clock,
}

/// The root that a signing certificate leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootInfo {
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// Its subject.
    pub subject: String,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

/// A chain for somebody who has the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// PEM, one certificate each: the caller's own, the intermediates.
    pub chain: Vec<String>,
    /// The serial number of the caller's own, in hexadecimal.
    pub serial: String,
    /// When the caller's own ends.
    pub not_after: SystemTime,
}

/// A chain with its key, for this process.
#[derive(Clone)]
pub struct KeyedCertificate {
    /// DER: the certificate and the intermediates, without roots.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key as PKCS #8 DER.
    pub key: Vec<u8>,
    /// When the certificate begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

/// A certificate that was signed.
struct Made {
    certificate: CertificateDer<'static>,
    serial: SerialNumber,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The request is at fault.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The identity is of another trust domain.
    #[error("{0} is not of the trust domain {1}")]
    TrustDomain(SpiffeId, TrustDomain),
    /// More was asked for than anybody gets.
    #[error("requested TTL {} s is greater than the max allowed TTL {} s", requested.as_secs(), maximum.as_secs())]
    Lifetime {
        /// What was asked for.
        requested: Duration,
        /// What is allowed.
        maximum: Duration,
    },
    /// The signing certificate is no longer valid.
    #[error("the authority's own certificate has expired")]
    Expired,
    /// It cannot be put on record.
    #[error("it cannot be put on record: {0}")]
    Record(String),
    /// A name does not fit into a certificate.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// The cryptographic library refuses.
    #[error("signing failed: {0}")]
    Library(String),
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            default: Duration::from_secs(24 * 3600),
            maximum: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl Material {
    /// A new root that signs itself: ECDSA P-256, ten years, `O=<trust domain>`.
    pub fn self_signed(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, SignError> {
        let mut params = parameters(now, now + ROOT_VALIDITY)?;
        params
            .distinguished_name
            .push(DnType::OrganizationName, trust_domain.as_str());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let key = KeyPair::generate().map_err(library)?;
        let certificate = params.self_signed(&key).map_err(library)?;
        let pem = chain::pem(certificate.der());
        Ok(Self {
            ca_cert: pem.clone(),
            ca_key: key.serialize_pem(),
            cert_chain: pem.clone(),
            root_cert: pem,
        })
    }
}

impl CertificateAuthority {
    /// An authority of this key; the certificates must lead from it to a root.
    pub(crate) fn new(
        material: &Material,
        trust_domain: TrustDomain,
        validity: Validity,
        clock: Clock,
    ) -> Result<Self, ChainError> {
        let signer = chain::read("ca-cert.pem", &material.ca_cert)?
            .into_iter()
            .next()
            .ok_or(ChainError::Empty("ca-cert.pem"))?;
        let roots = chain::read("root-cert.pem", &material.root_cert)?;
        if roots.is_empty() {
            return Err(ChainError::Empty("root-cert.pem"));
        }
        let above = chain::read("cert-chain.pem", &material.cert_chain)?;
        let anchor = chain::anchor(&signer, &above, &roots)?;
        let mut roots = roots;
        roots.sort_by_key(|it| *it != anchor);
        let root = RootInfo::of(&anchor)?;
        let malformed = |what, error: rcgen::Error| ChainError::Malformed {
            what,
            reason: error.to_string(),
        };
        let key = KeyPair::from_pem(&material.ca_key).map_err(|it| malformed("ca-key.pem", it))?;
        let parsed = chain::parse("ca-cert.pem", &signer)?;
        if !parsed.is_ca() {
            return Err(ChainError::NotAuthority(parsed.subject().to_string()));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(ChainError::OtherKey);
        }
        let not_after = chain::not_after(&parsed);
        drop(parsed);
        let issuer =
            Issuer::from_ca_cert_der(&signer, key).map_err(|it| malformed("ca-cert.pem", it))?;
        let mut intermediates = vec![signer];
        intermediates.extend(above);
        let mut seen = roots.clone();
        intermediates.retain(|it| {
            let new = !seen.contains(it);
            if new {
                seen.push(it.clone());
            }
            new
        });
        Ok(Self {
            trust_domain,
            issuer,
            intermediates,
            roots,
            root,
            not_after,
            validity,
            clock,
        })
    }

    /// The trust domain whose identities it signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What it brings along to be trusted: the root that it signs under first.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The root that it signs under.
    pub fn root(&self) -> &RootInfo {
        &self.root
    }

    /// When the signing certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs a request for `id`: the key is the request's, the one name is `id`, there is no
    /// subject, and the validity is what was asked for (`None` or zero: the default), but never beyond
    /// the end of the signing certificate.
    ///
    /// # Errors
    /// When the request, the validity or the identity is refused, or the authority has expired.
    pub fn sign(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        requested: Option<Duration>,
    ) -> Result<Issued, SignError> {
        if *id.trust_domain() != self.trust_domain {
            return Err(SignError::TrustDomain(
                id.clone(),
                self.trust_domain.clone(),
            ));
        }
        let key = request::public_key(csr_pem)?;
        if let Some(requested) = requested.filter(|it| *it > self.validity.maximum) {
            return Err(SignError::Lifetime {
                requested,
                maximum: self.validity.maximum,
            });
        }
        let uri = name(&id.to_string(), SanType::URI)?;
        let made = self.issue(&key, vec![uri], requested)?;
        let chain = std::iter::once(&made.certificate).chain(&self.intermediates);
        Ok(Issued {
            chain: chain.map(chain::pem).collect(),
            serial: chain::hexadecimal(made.serial.as_ref()),
            not_after: made.not_after,
        })
    }

    /// A new key and a certificate for a server that is found under these names and addresses.
    ///
    /// # Errors
    /// When a name does not fit into a certificate, or the authority has expired.
    pub fn server_certificate(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        requested: Option<Duration>,
    ) -> Result<KeyedCertificate, SignError> {
        let names = names.iter().map(|it| name(it, SanType::DnsName));
        let mut names: Vec<_> = names.collect::<Result<_, _>>()?;
        names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let key = KeyPair::generate().map_err(library)?;
        let made = self.issue(&key, names, requested)?;
        let mut chain = vec![made.certificate];
        chain.extend(self.intermediates.iter().cloned());
        Ok(KeyedCertificate {
            chain,
            key: key.serialize_der(),
            not_before: made.not_before,
            not_after: made.not_after,
        })
    }

    fn issue(
        &self,
        key: &impl PublicKeyData,
        names: Vec<SanType>,
        requested: Option<Duration>,
    ) -> Result<Made, SignError> {
        let now = self.clock.wall();
        if self.not_after <= now {
            return Err(SignError::Expired);
        }
        let wanted = requested.filter(|it| !it.is_zero());
        let validity = wanted.unwrap_or(self.validity.default);
        let not_after = (now + validity).min(self.not_after);
        let mut params = parameters(now, not_after)?;
        params.subject_alt_names = names;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        let serial = params.serial_number.clone();
        let certificate = params.signed_by(key, &self.issuer).map_err(library)?;
        Ok(Made {
            certificate: certificate.der().clone(),
            serial: serial.expect("`parameters` sets one"),
            not_before: now - BACKDATE,
            not_after,
        })
    }
}

impl RootInfo {
    fn of(root: &CertificateDer<'_>) -> Result<Self, ChainError> {
        let parsed = chain::parse("root-cert.pem", root)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
        Ok(Self {
            fingerprint: chain::hexadecimal(digest.as_ref()),
            subject: parsed.subject().to_string(),
            not_before: chain::not_before(&parsed),
            not_after: chain::not_after(&parsed),
        })
    }
}

/// What every certificate has: a random serial, a validity that begins a little earlier, no name.
fn parameters(now: SystemTime, not_after: SystemTime) -> Result<CertificateParams, SignError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| SignError::Library("no randomness".to_owned()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - BACKDATE).into();
    params.not_after = not_after.into();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn name(text: &str, wrap: fn(rcgen::string::Ia5String) -> SanType) -> Result<SanType, SignError> {
    let fits = rcgen::string::Ia5String::try_from(text);
    fits.map(wrap).map_err(|_| SignError::Name(text.to_owned()))
}

fn library(error: rcgen::Error) -> SignError {
    SignError::Library(error.to_string())
}

#[cfg(test)]
mod tests;
