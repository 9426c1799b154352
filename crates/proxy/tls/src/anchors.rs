//! Trust anchors and revocation lists: PEM enters, what a chain is verified against leaves.

use std::sync::Arc;

use meltemi_ir::ValidationContext;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::key::certificates;
use crate::{SecretStore, TlsError};

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities that the system trusts, as the PEM bundle that it keeps them in; none where it has
/// none where systems have them.
pub fn system_bundle() -> Option<Vec<u8>> {
    let mut bundles = SYSTEM_BUNDLES.iter();
    bundles.find_map(|path| std::fs::read(path).ok())
}

/// Trust anchors, each with what an anchor itself does not say.
#[derive(Debug)]
pub(crate) struct Anchors {
    store: RootCertStore,
    /// In the order of the store.
    facts: Vec<Facts>,
}

#[derive(Debug)]
struct Facts {
    sha256: [u8; 32],
    not_before: i64,
    not_after: i64,
}

impl Anchors {
    /// Reads a PEM bundle.
    ///
    /// # Errors
    /// When one of them cannot be read: trusting some would hide that others are not trusted.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, TlsError> {
        let mut anchors = Self {
            store: RootCertStore::empty(),
            facts: Vec::new(),
        };
        for certificate in certificates(pem).map_err(fault)? {
            anchors.add(&certificate).map_err(fault)?;
        }
        Ok(anchors)
    }

    /// Those that the system trusts; what cannot be read among them is left out.
    ///
    /// # Errors
    /// When the system has none where systems have them.
    pub(crate) fn of_system() -> Result<Self, TlsError> {
        let none = || TlsError::Material {
            path: "validation_context.system_root_certs".to_owned(),
            reason: format!("none of {} can be read", SYSTEM_BUNDLES.join(", ")),
        };
        let bundle = system_bundle().ok_or_else(none)?;
        let mut anchors = Self {
            store: RootCertStore::empty(),
            facts: Vec::new(),
        };
        for certificate in certificates(&bundle).map_err(fault)? {
            // ignored: an authority that cannot be read cannot be trusted
            let _ = anchors.add(&certificate);
        }
        Ok(anchors)
    }

    fn add(&mut self, certificate: &CertificateDer<'static>) -> Result<(), String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        self.store
            .add(certificate.clone())
            .map_err(|error| error.to_string())?;
        self.facts.push(Facts {
            sha256: sha256(certificate),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        });
        Ok(())
    }

    pub(crate) fn all(&self) -> &[TrustAnchor<'static>] {
        &self.store.roots
    }

    /// Whether an anchor is valid at a time; a chain that ends in one that is not leads nowhere.
    pub(crate) fn is_valid(&self, anchor: &TrustAnchor<'_>, now: UnixTime) -> bool {
        let same = |one: &TrustAnchor<'_>| {
            one.subject == anchor.subject
                && one.subject_public_key_info == anchor.subject_public_key_info
        };
        let those = self.all().iter().zip(&self.facts);
        let mut those = those.filter(|(one, _)| same(one));
        those.any(|(_, facts)| facts.covers(now))
    }

    /// Whether this very certificate is among them; none where it is but not at this time.
    pub(crate) fn holds(&self, certificate: &[u8], now: UnixTime) -> Option<bool> {
        let digest = sha256(certificate);
        match self.facts.iter().find(|facts| facts.sha256 == digest) {
            None => Some(false),
            Some(facts) => facts.covers(now).then_some(true),
        }
    }
}

impl Facts {
    fn covers(&self, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The anchors of a validation context; none where chains are not verified.
pub(crate) fn of_context(
    context: &ValidationContext,
    secrets: &SecretStore,
) -> Result<Option<Arc<Anchors>>, TlsError> {
    if !context.trusted_ca_pem.is_empty() {
        return Ok(Some(Arc::new(Anchors::read(&context.trusted_ca_pem)?)));
    }
    if context.system_roots {
        return secrets.system_anchors().map(Some);
    }
    Ok(None)
}

/// The revocation lists of a validation context; none where certificates are not looked up.
///
/// # Errors
/// When a list cannot be read.
pub(crate) fn revocations(
    context: &ValidationContext,
) -> Result<Option<Vec<CertRevocationList<'static>>>, TlsError> {
    let mut lists = Vec::new();
    let given = context.crl_pem.as_deref();
    for pem in [given.unwrap_or_default(), &context.trusted_ca_pem] {
        for list in CertificateRevocationListDer::pem_slice_iter(pem) {
            let fault = |reason: String| TlsError::Material {
                path: "validation_context.crl".to_owned(),
                reason,
            };
            let list = list.map_err(|error| fault(error.to_string()))?;
            let list = OwnedCertRevocationList::from_der(&list)
                .map_err(|error| fault(format!("no revocation list: {error}")))?;
            lists.push(CertRevocationList::from(list));
        }
    }
    Ok((given.is_some() || !lists.is_empty()).then_some(lists))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut array = [0; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

fn fault(reason: String) -> TlsError {
    TlsError::Material {
        path: "validation_context.trusted_ca".to_owned(),
        reason,
    }
}
