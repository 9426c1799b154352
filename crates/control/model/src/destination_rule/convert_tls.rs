//! TLS to a destination: from written to valid (FEATURES S6).

use meltemi_api::{FieldPath, destination_rule as api};

use super::{CertificateFiles, ClientTls, ServerVerification};
use crate::check::{Check, filled};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

/// Checks `tls`.
pub(super) fn convert_tls(
    written: Option<api::ClientTlsSettings>,
    policy: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ClientTls> {
    let api::ClientTlsSettings {
        mode,
        client_certificate,
        private_key,
        ca_certificates,
        credential_name,
        subject_alt_names,
        sni,
        insecure_skip_verify,
        ca_crl,
    } = written?;
    let at = policy.field("tls");
    let modes = [
        ("DISABLE", Mode::Disable),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Mutual),
        ("ISTIO_MUTUAL", Mode::IstioMutual),
    ];
    let mode = match filled(mode) {
        Some(text) => check.choice(&at.field("mode"), &text, &modes)?,
        None => Mode::Disable,
    };
    let (sni, ca_certificates) = (filled(sni), filled(ca_certificates));
    let (certificate, key) = (filled(client_certificate), filled(private_key));
    let (credential_name, ca_crl) = (filled(credential_name), filled(ca_crl));
    let mut not_here = |name: &str, written: bool, mode: &str| {
        if written {
            check.warn(&at.field(name), format!("has no effect with mode {mode}"));
        }
    };
    if mode != Mode::Mutual {
        let other = "other than MUTUAL";
        not_here("clientCertificate", certificate.is_some(), other);
        not_here("privateKey", key.is_some(), other);
    }
    if mode == Mode::IstioMutual {
        let name = "ISTIO_MUTUAL";
        not_here("caCertificates", ca_certificates.is_some(), name);
        not_here("insecureSkipVerify", insecure_skip_verify, name);
        not_here("credentialName", credential_name.is_some(), name);
        not_here("caCrl", ca_crl.is_some(), name);
        return Some(ClientTls::IstioMutual {
            sni,
            subject_alt_names,
        });
    }
    if mode == Mode::Disable {
        return Some(ClientTls::Disable);
    }
    let roots = ca_certificates.is_some() || mode == Mode::Simple && credential_name.is_some();
    if insecure_skip_verify && (roots || !subject_alt_names.is_empty()) {
        let message = "true contradicts caCertificates and subjectAltNames; remove one";
        check.invalid(&at.field("insecureSkipVerify"), message);
    }
    let by_files = mode == Mode::Mutual && (certificate.is_some() || key.is_some())
        || ca_certificates.is_some()
        || ca_crl.is_some();
    if credential_name.is_some() && by_files {
        let message = "contradicts the files of certificates; keep one";
        check.invalid(&at.field("credentialName"), message);
    }
    let has_credential = credential_name.is_some();
    let server = ServerVerification {
        sni,
        subject_alt_names,
        ca_certificates,
        ca_crl,
        insecure_skip_verify,
        credential_name,
    };
    if mode == Mode::Simple {
        return Some(ClientTls::Simple(server));
    }
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
        _ if has_credential => None,
        (certificate, _) => {
            let missing = match certificate {
                None => "clientCertificate",
                Some(_) => "privateKey",
            };
            let message = "is needed with mode MUTUAL, or credentialName";
            check.invalid(&at.field(missing), message);
            None
        }
    };
    Some(ClientTls::Mutual { server, files })
}
