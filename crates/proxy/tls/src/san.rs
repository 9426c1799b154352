//! Whether a certificate bears a name that a validation context accepts.

use meltemi_ir::{SanMatch, StringMatch};

use crate::CertificateInfo;

/// Whether any matcher accepts any name; no matcher accepts everything.
pub(crate) fn accepts(matchers: &[SanMatch], certificate: &CertificateInfo) -> bool {
    matchers.is_empty()
        || matchers.iter().any(|matcher| match matcher {
            SanMatch::Uri(text) => any(text, &certificate.uri_sans),
            SanMatch::Dns(text) => any_dns(text, &certificate.dns_sans),
            SanMatch::Email(text) => any(text, &certificate.email_sans),
            SanMatch::Ip(text) => any_address(text, certificate),
            SanMatch::Any(text) => {
                any(text, &certificate.uri_sans)
                    || any_dns(text, &certificate.dns_sans)
                    || any(text, &certificate.email_sans)
                    || any_address(text, certificate)
            }
        })
}

/// Whether the certificate bears this very name, of whatever kind.
pub(crate) fn bears(name: &str, certificate: &CertificateInfo) -> bool {
    certificate.dns_sans.iter().any(|it| dns_matches(it, name))
        || certificate.uri_sans.iter().any(|it| it == name)
        || certificate.email_sans.iter().any(|it| it == name)
        || certificate.ip_sans.iter().any(|it| it.to_string() == name)
}

/// All names in the certificate's order, for people.
pub(crate) fn listed(certificate: &CertificateInfo) -> String {
    certificate.all_sans.join(", ")
}

fn any_address(matcher: &StringMatch, certificate: &CertificateInfo) -> bool {
    let addresses = &certificate.ip_sans;
    addresses
        .iter()
        .any(|address| matcher.matches(&address.to_string()))
}

fn any(matcher: &StringMatch, names: &[String]) -> bool {
    names.iter().any(|name| matcher.matches(name))
}

/// An exact matcher also takes a certificate's wildcard for one label.
fn any_dns(matcher: &StringMatch, names: &[String]) -> bool {
    names.iter().any(|name| match matcher {
        StringMatch::Exact { text, .. } => dns_matches(name, text),
        other => other.matches(name),
    })
}

/// Whether the certificate's name covers a host name.
pub(crate) fn dns_matches(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(parent), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && parent.contains('.') && rest.eq_ignore_ascii_case(parent)
}
