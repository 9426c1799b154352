//! What an X.509 certificate says, as text: DER enters from a handshake, names leave for
//! logs, metrics, policy and `x-forwarded-client-cert`.

use std::fmt::Write as _;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::der_parser::asn1_rs::Any;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::anchors::sha256;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateInfo {
    /// URI names, such as `spiffe://cluster.local/ns/default/sa/web`.
    pub uri_sans: Vec<String>,
    /// DNS names.
    pub dns_sans: Vec<String>,
    /// Addresses.
    pub ip_sans: Vec<IpAddr>,
    /// Mail names.
    pub email_sans: Vec<String>,
    /// Names of other kinds whose value is text.
    pub other_sans: Vec<String>,
    /// All of these but the last in their order.
    pub(crate) all_sans: Vec<String>,
    /// The subject, as RFC 2253 writes it.
    pub subject: String,
    /// The issuer, as RFC 2253 writes it.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// SHA-256 of the DER form, in hexadecimal.
    pub sha256: String,
    /// SHA-256 of the public key with its algorithm.
    pub spki_sha256: [u8; 32],
    /// Valid from, in seconds since the Unix epoch.
    pub not_before: i64,
    /// Valid until, in seconds since the Unix epoch.
    pub not_after: i64,
}

impl CertificateInfo {
    /// Reads a certificate; none where it cannot be read.
    pub fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut info = Self {
            subject: rfc2253(parsed.subject()),
            issuer: rfc2253(parsed.issuer()),
            serial: hexadecimal(without_sign(parsed.raw_serial())),
            sha256: hexadecimal(&sha256(certificate)),
            spki_sha256: sha256(parsed.public_key().raw),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            ..Self::default()
        };
        if let Some(names) = parsed.subject_alternative_name().ok().flatten() {
            for name in &names.value.general_names {
                info.add_name(name);
            }
        }
        Some(info)
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        let list = match name {
            GeneralName::URI(_) => &mut self.uri_sans,
            GeneralName::DNSName(_) => &mut self.dns_sans,
            GeneralName::RFC822Name(_) => &mut self.email_sans,
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let sixteen = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                if let Ok(address) = four.or_else(|_| sixteen()) {
                    self.ip_sans.push(address);
                    self.all_sans.push(address.to_string());
                }
                return;
            }
            GeneralName::OtherName(_, value) => {
                self.other_sans.extend(text_of(value));
                return;
            }
            _ => return,
        };
        if let GeneralName::URI(text) | GeneralName::DNSName(text) | GeneralName::RFC822Name(text) =
            name
        {
            list.push((*text).to_owned());
            self.all_sans.push((*text).to_owned());
        }
    }
}

/// A number without the first byte that only says that it is positive.
fn without_sign(number: &[u8]) -> &[u8] {
    match number {
        [0, rest @ ..] if !rest.is_empty() => rest,
        number => number,
    }
}

/// The value of another name: text in an explicit tag.
fn text_of(value: &[u8]) -> Option<String> {
    let (_, outer) = Any::from_der(value).ok()?;
    let (_, inner) = Any::from_der(outer.data).ok()?;
    inner.as_string().ok()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// RFC 2253: the last relative name first, `,` between them, special characters escaped.
fn rfc2253(name: &X509Name<'_>) -> String {
    let registry = x509_parser::objects::oid_registry();
    let mut parts = Vec::new();
    for relative in name.iter() {
        let mut attributes = Vec::new();
        for attribute in relative.iter() {
            let key = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry)
                .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
            let value = attribute.as_str().unwrap_or_default();
            attributes.push(format!("{key}={}", escaped(value)));
        }
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (index == 0 && matches!(character, '#' | ' '))
            || (index == last && character == ' ');
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}
