//! The names inside a certificate.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{IdError, SpiffeId};

/// Why a certificate is no SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// It does not parse.
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    /// An X.509-SVID has exactly one URI name.
    #[error("an X.509-SVID has exactly one URI name, this certificate has {0}")]
    UriCount(usize),
    /// Its URI name is no SPIFFE ID.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// The names inside a certificate, none of them verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// URI subject alternative names.
    pub uris: Vec<String>,
    /// DNS subject alternative names.
    pub dns: Vec<String>,
    /// The subject as RFC 2253 text; empty for an SVID.
    pub subject: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// Validity, in seconds since the Unix epoch.
    pub not_before: i64,
    /// The end of validity, in seconds since the Unix epoch.
    pub not_after: i64,
}

impl CertificateNames {
    /// Reads the names of a DER certificate.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, SvidError> {
        let malformed = |error: &dyn std::fmt::Display| SvidError::Malformed(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        let mut names = Self {
            subject: certificate.subject().to_string(),
            serial: certificate
                .raw_serial()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            ..Self::default()
        };
        let extension = certificate
            .subject_alternative_name()
            .map_err(|error| malformed(&error))?;
        for name in extension
            .iter()
            .flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }

    /// The SPIFFE ID, if the certificate is an X.509-SVID.
    ///
    /// # Errors
    /// When there is not exactly one URI name, or it is no SPIFFE ID.
    pub fn spiffe_id(&self) -> Result<SpiffeId, SvidError> {
        match self.uris.as_slice() {
            [uri] => Ok(uri.parse()?),
            uris => Err(SvidError::UriCount(uris.len())),
        }
    }
}
