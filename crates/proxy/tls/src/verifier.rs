//! Peer verification: the chain leads to a trust anchor, and the leaf bears an accepted name.
//!
//! A SPIFFE certificate has no DNS name, so the server name of a connection plays no part unless
//! the settings say so; names are checked by SAN matchers. What is decided, in which order, and
//! what is said of it is as in Envoy.

use std::sync::Arc;

use meltemi_ir::{SanMatch, ValidationContext};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::anchors::{self, Anchors};
use crate::failure::{FailureKind, Refused, chain_error};
use crate::signed::Signed;
use crate::{CertificateInfo, SecretStore, TlsError, san};

/// What a peer's certificate must fulfil.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// None where the chain is not verified.
    roots: Option<Arc<Anchors>>,
    /// None where certificates are not looked up.
    revocations: Option<Arc<[CertRevocationList<'static>]>>,
    only_leaf_crl: bool,
    allow_expired: bool,
    pub(crate) accept_untrusted: bool,
    max_depth: Option<u32>,
    sans: Vec<SanMatch>,
    certificate_hashes: Vec<[u8; 32]>,
    spki_hashes: Vec<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Those that a peer may sign with.
    schemes: Vec<SignatureScheme>,
    signed: Arc<Signed>,
}

/// The names that a server must bear, whatever the SAN matchers say.
#[derive(Clone, Debug)]
enum Names {
    /// Those of the matchers.
    Matched,
    /// The server name that was sent.
    ServerName,
    /// This one.
    Exactly(String),
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

impl Rules {
    /// Reads what a validation context refers to.
    ///
    /// # Errors
    /// When that cannot be read, or when it would verify nothing though it seems to.
    pub(crate) fn new(
        context: &ValidationContext,
        secrets: &SecretStore,
        provider: &CryptoProvider,
        schemes: &[SignatureScheme],
    ) -> Result<Self, TlsError> {
        let ValidationContext {
            trusted_ca_pem: _, // ignored: read by `anchors`
            system_roots: _,   // ignored: read by `anchors`
            san_matchers,
            certificate_hashes,
            spki_hashes,
            crl_pem,
            only_leaf_crl,
            allow_expired,
            accept_untrusted,
            max_verify_depth,
        } = context;
        let roots = anchors::of_context(context, secrets)?;
        if roots.is_none() {
            let without = [
                (!san_matchers.is_empty(), "match_typed_subject_alt_names"),
                (crl_pem.is_some(), "crl"),
                (*allow_expired, "allow_expired_certificate"),
            ];
            if let Some((_, field)) = without.iter().find(|(is_set, _)| *is_set) {
                return Err(TlsError::Material {
                    path: format!("validation_context.{field}"),
                    reason: "is only of use where trusted_ca is given".to_owned(),
                });
            }
        }
        let algorithms = provider.signature_verification_algorithms;
        let mut supported = algorithms.supported_schemes();
        if !schemes.is_empty() {
            supported.retain(|scheme| schemes.contains(scheme));
        }
        Ok(Self {
            revocations: match &roots {
                Some(_) => anchors::revocations(context)?.map(Into::into),
                None => None,
            },
            roots,
            only_leaf_crl: *only_leaf_crl,
            allow_expired: *allow_expired,
            accept_untrusted: *accept_untrusted,
            max_depth: *max_verify_depth,
            sans: san_matchers.clone(),
            certificate_hashes: certificate_hashes.clone(),
            spki_hashes: spki_hashes.clone(),
            algorithms,
            schemes: supported,
            signed: Arc::default(),
        })
    }

    /// What peers signed with.
    pub(crate) fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Whether a certificate that fulfils them is one of a known peer.
    pub(crate) fn verify(&self) -> bool {
        self.roots.is_some() || self.has_hashes()
    }

    fn has_hashes(&self) -> bool {
        !(self.certificate_hashes.is_empty() && self.spki_hashes.is_empty())
    }

    /// Whether the chain fulfils them now, whatever is accepted besides.
    pub(crate) fn fulfilled(&self, side: Side, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        let now = UnixTime::now();
        self.judge(side, leaf, intermediates, now, &Names::Matched, None)
            .is_ok()
    }

    fn check(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        names: &Names,
        server_name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        if self.accept_untrusted {
            return Ok(());
        }
        self.judge(side, leaf, intermediates, now, names, server_name)
    }

    fn judge(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        names: &Names,
        server_name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        if let Some(roots) = &self.roots {
            self.check_chain(roots, side, leaf, intermediates, now)
                .map_err(|error| chain_error(&error, side, leaf, intermediates))?;
        }
        let certificate = CertificateInfo::read(leaf)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        self.check_names(&certificate, names, server_name)?;
        if self.has_hashes() && !self.is_listed(leaf, &certificate) {
            let text = "verify cert failed: cert hash and spki".to_owned();
            return Err(Refused::error(FailureKind::Hash, text));
        }
        Ok(())
    }

    fn check_names(
        &self,
        certificate: &CertificateInfo,
        names: &Names,
        server_name: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        let sent = match (names, server_name) {
            (Names::ServerName, Some(ServerName::DnsName(name))) => Some(name.as_ref().to_owned()),
            _ => None,
        };
        if let Some(name) = &sent {
            let dns = &certificate.dns_sans;
            if dns.iter().any(|it| san::dns_matches(it, name)) {
                return Ok(());
            }
        } else if let Names::Exactly(name) = names {
            if san::bears(name, certificate) {
                return Ok(());
            }
            let text = format!(
                "verify cert failed: verify SAN list, expected SANs: [{name}], certificate SANs: [{}]",
                san::listed(certificate)
            );
            return Err(Refused::error(FailureKind::San, text));
        } else if san::accepts(&self.sans, certificate) {
            return Ok(());
        }
        let text = format!(
            "verify cert failed: SAN matcher, certificate SANs are [{}]",
            san::listed(certificate)
        );
        Err(Refused::error(FailureKind::San, text))
    }

    fn is_listed(&self, leaf: &CertificateDer<'_>, certificate: &CertificateInfo) -> bool {
        self.certificate_hashes.contains(&anchors::sha256(leaf))
            || self.spki_hashes.contains(&certificate.spki_sha256)
    }

    fn check_chain(
        &self,
        roots: &Anchors,
        side: Side,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        if self.revocations.is_none() {
            // A certificate that is itself trusted needs nobody to vouch for it.
            match roots.holds(leaf, now) {
                Some(true) => return Ok(()),
                None if self.allow_expired => return Ok(()),
                None | Some(false) => {}
            }
        }
        let certificate = EndEntityCert::try_from(leaf)?;
        let now_or_never = |time| self.build(roots, side, &certificate, intermediates, time);
        let first = now_or_never(now);
        let is_of_time = matches!(
            first,
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })
        );
        if !self.allow_expired || !is_of_time {
            return first;
        }
        // Where all of them were valid together, they were when the youngest began to be.
        let beginnings = std::iter::once(leaf).chain(intermediates);
        let beginnings = beginnings.filter_map(CertificateInfo::read);
        let mut beginnings = beginnings.filter_map(|it| u64::try_from(it.not_before).ok());
        let fits = |since| {
            now_or_never(UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                since,
            )))
            .is_ok()
        };
        if beginnings.any(fits) { Ok(()) } else { first }
    }

    fn build(
        &self,
        roots: &Anchors,
        side: Side,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let usage = match side {
            Side::Server => KeyUsage::server_auth(),
            Side::Client => KeyUsage::client_auth(),
        };
        let lists: Vec<&CertRevocationList<'_>> =
            self.revocations.iter().flat_map(|it| it.iter()).collect();
        let revocation = match &self.revocations {
            None => None,
            Some(_) => {
                let options = RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| webpki::Error::UnknownRevocationStatus)?
                    .with_depth(match self.only_leaf_crl {
                        true => RevocationCheckDepth::EndEntity,
                        false => RevocationCheckDepth::Chain,
                    })
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(match self.allow_expired {
                        true => ExpirationPolicy::Ignore,
                        false => ExpirationPolicy::Enforce,
                    });
                Some(options.build())
            }
        };
        let path = |path: &webpki::VerifiedPath<'_>| {
            if let Some(most) = self.max_depth
                && path.intermediate_certificates().count() > most as usize
            {
                return Err(webpki::Error::MaximumPathDepthExceeded);
            }
            if !self.allow_expired && !roots.is_valid(path.anchor(), now) {
                return Err(webpki::Error::CertExpired {
                    time: now,
                    not_after: now,
                });
            }
            Ok(())
        };
        let built = certificate.verify_for_usage(
            self.algorithms.all,
            roots.all(),
            intermediates,
            now,
            usage,
            revocation,
            Some(&path),
        );
        built.map(drop)
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(signature)?;
        self.signed.remember(certificate, signature.scheme);
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(signature)?;
        self.signed.remember(certificate, signature.scheme);
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn check_scheme(&self, signature: &DigitallySignedStruct) -> Result<(), Error> {
        if self.schemes.contains(&signature.scheme) {
            return Ok(());
        }
        Err(PeerIncompatible::NoSignatureSchemesInCommon.into())
    }
}

/// Verifies servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    rules: Rules,
    names: Names,
}

impl ServerVerifier {
    /// `by_server_name` where the name that was sent takes the place of the SAN matchers.
    pub(crate) fn new(rules: Rules, by_server_name: bool) -> Self {
        let names = match by_server_name {
            true => Names::ServerName,
            false => Names::Matched,
        };
        Self { rules, names }
    }

    /// The same for a server that must bear this name.
    pub(crate) fn of_name(&self, name: &str) -> Self {
        Self {
            rules: self.rules.clone(),
            names: Names::Exactly(name.to_owned()),
        }
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.rules.check(
            Side::Server,
            end_entity,
            intermediates,
            now,
            &self.names,
            Some(server_name),
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.schemes.clone()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    rules: Rules,
    required: bool,
}

impl ClientVerifier {
    pub(crate) fn new(rules: Rules, required: bool) -> Self {
        Self { rules, required }
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
        if !self.rules.verify() && !self.rules.accept_untrusted {
            // A certificate was required, and nothing says which.
            let text = "verify cert failed: no trusted_ca".to_owned();
            return Err(Refused::error(FailureKind::Other, text));
        }
        let names = &Names::Matched;
        self.rules
            .check(Side::Client, end_entity, intermediates, now, names, None)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rules.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rules.schemes.clone()
    }
}
