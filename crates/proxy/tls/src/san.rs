//! Whether a certificate bears a name that a validation context accepts.

use meltemi_ir::{SanMatch, StringMatch};

use crate::CertificateInfo;

/// Whether any matcher accepts any name; no matcher accepts everything.
pub(crate) fn accepts(matchers: &[SanMatch], certificate: &CertificateInfo) -> bool {
    matchers.is_empty()
        || matchers.iter().any(|matcher| match matcher {
            SanMatch::Uri(text) => any(text, &certificate.uri_sans),
            SanMatch::Dns(text) => any_dns(text, &certificate.dns_sans),
            SanMatch::Any(text) => {
                any(text, &certificate.uri_sans)
                    || any_dns(text, &certificate.dns_sans)
                    || any(text, &certificate.email_sans)
                    || certificate
                        .ip_sans
                        .iter()
                        .any(|address| text.matches(&address.to_string()))
            }
        })
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
