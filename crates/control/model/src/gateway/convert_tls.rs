//! TLS of servers: from written to valid (FEATURES T2).

use meltemi_api::{FieldPath, gateway as api};

use super::{CaSource, CertificateSource, ServerTls, TlsTermination, TlsVersion, TlsVersions};
use crate::check::{Check, filled};

/// Suites that both data planes speak.
const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Suites that Istio takes and rustls does not speak.
const OLD_CIPHER_SUITES: [&str; 12] = [
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
    "DES-CBC3-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "PSK-AES128-CBC-SHA",
];

/// How many certificates a server may have: one for each kind of key.
const MAX_CERTIFICATES: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passthrough,
    AutoPassthrough,
    Simple,
    Mutual,
    OptionalMutual,
    IstioMutual,
}

/// The written names of certificates.
struct Names {
    credential: Option<String>,
    credentials: Vec<String>,
    certificate: Option<String>,
    key: Option<String>,
    certificates: Vec<api::TlsCertificate>,
    ca: Option<String>,
    ca_credential: Option<String>,
}

/// Checks `tls` of a server whose connections begin with TLS.
pub(crate) fn convert_tls(
    written: api::ServerTlsSettings,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ServerTls> {
    let api::ServerTlsSettings {
        // ignored: a port with TLS has nothing to redirect; Istio warns and goes on.
        https_redirect: _https_redirect,
        mode,
        server_certificate,
        private_key,
        ca_certificates,
        ca_crl,
        credential_name,
        credential_names,
        ca_cert_credential_name,
        tls_certificates,
        subject_alt_names,
        verify_certificate_spki,
        verify_certificate_hash,
        min_protocol_version,
        max_protocol_version,
        cipher_suites,
    } = written;
    let mode = filled(mode).unwrap_or_else(|| "PASSTHROUGH".to_owned());
    let modes = [
        ("PASSTHROUGH", Mode::Passthrough),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Mutual),
        ("AUTO_PASSTHROUGH", Mode::AutoPassthrough),
        ("ISTIO_MUTUAL", Mode::IstioMutual),
        ("OPTIONAL_MUTUAL", Mode::OptionalMutual),
    ];
    let mode = check.choice(&at.field("mode"), &mode, &modes)?;
    let versions = convert_versions(
        (min_protocol_version, max_protocol_version, cipher_suites),
        at,
        check,
    );
    let names = Names {
        credential: filled(credential_name),
        credentials: credential_names,
        certificate: filled(server_certificate),
        key: filled(private_key),
        certificates: tls_certificates,
        ca: filled(ca_certificates),
        ca_credential: filled(ca_cert_credential_name),
    };
    match mode {
        Mode::Passthrough | Mode::AutoPassthrough | Mode::IstioMutual => {
            let written = [
                ("credentialName", names.credential.is_some()),
                ("credentialNames", !names.credentials.is_empty()),
                ("serverCertificate", names.certificate.is_some()),
                ("privateKey", names.key.is_some()),
                ("tlsCertificates", !names.certificates.is_empty()),
                ("caCertificates", names.ca.is_some()),
                ("caCertCredentialName", names.ca_credential.is_some()),
            ];
            for (name, _) in written.iter().filter(|it| it.1) {
                let at = at.field(name);
                match mode {
                    Mode::IstioMutual => {
                        check.invalid(&at, "has no meaning with mode ISTIO_MUTUAL; remove it");
                    }
                    // Where TLS is not opened.
                    _ => check.warn(&at, "has no effect: this mode has no certificates"),
                }
            }
            Some(match mode {
                Mode::Passthrough => ServerTls::Passthrough,
                Mode::AutoPassthrough => ServerTls::AutoPassthrough,
                _ => ServerTls::IstioMutual(versions),
            })
        }
        Mode::Simple | Mode::Mutual | Mode::OptionalMutual => {
            let mutual = mode != Mode::Simple;
            let ca_crl = filled(ca_crl);
            if ca_crl.is_some() && !mutual && names.credential.is_none() {
                let what = "clients have no certificates with mode SIMPLE; write MUTUAL";
                check.invalid(&at.field("caCrl"), what);
            }
            let (certificates, ca) = sources(names, mutual, at, check)?;
            let termination = TlsTermination {
                certificates,
                ca,
                ca_crl,
                subject_alt_names,
                spki_hashes: verify_certificate_spki,
                certificate_hashes: verify_certificate_hash,
                versions,
            };
            Some(match mode {
                Mode::Simple => ServerTls::Simple(termination),
                Mode::OptionalMutual => ServerTls::OptionalMutual(termination),
                _ => ServerTls::Mutual(termination),
            })
        }
    }
}

/// Where certificates and roots come from.
fn sources(
    names: Names,
    mutual: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<(Vec<CertificateSource>, Option<CaSource>)> {
    let Names {
        credential,
        credentials,
        certificate,
        key,
        certificates,
        ca,
        ca_credential,
    } = names;
    if credential.is_some() && !credentials.is_empty() {
        check.invalid(at, "has credentialName and credentialNames; keep one");
    }
    let secrets: Vec<_> = credential.into_iter().chain(credentials).collect();
    let many = secrets.len().max(certificates.len());
    if many > MAX_CERTIFICATES {
        check.invalid(
            at,
            format!("{many} certificates are too many; write at most 2"),
        );
    }
    let mut files = Vec::new();
    let mut file_ca = ca;
    let at_list = at.field("tlsCertificates");
    for (index, it) in certificates.into_iter().enumerate() {
        let api::TlsCertificate {
            server_certificate,
            private_key,
            ca_certificates,
        } = it;
        match (filled(server_certificate), filled(private_key)) {
            (Some(certificate), Some(key)) => {
                files.push(CertificateSource::Files { certificate, key });
            }
            _ => check.invalid(
                &at_list.index(index),
                "write serverCertificate and privateKey",
            ),
        }
        file_ca = file_ca.or(filled(ca_certificates));
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        if !files.is_empty() {
            check.invalid(at, "has serverCertificate and tlsCertificates; keep one");
        }
        files.push(CertificateSource::Files { certificate, key });
    }
    let by_secret = !secrets.is_empty();
    let sources: Vec<_> = match by_secret {
        true => secrets.into_iter().map(CertificateSource::Secret).collect(),
        false => files,
    };
    if sources.is_empty() {
        let what = "write credentialName, or serverCertificate and privateKey";
        check.invalid(at, format!("this mode needs a certificate; {what}"));
        return None;
    }
    let ca = match (ca_credential, file_ca) {
        (Some(name), _) => Some(CaSource::Secret(name)),
        (None, Some(file)) if !by_secret => Some(CaSource::File(file)),
        (None, _) => None,
    };
    if mutual && !by_secret && ca.is_none() {
        let what = "are needed to verify clients";
        check.invalid(&at.field("caCertificates"), what);
    }
    Some((sources, ca))
}

type WrittenVersions = (Option<String>, Option<String>, Vec<String>);

/// Checks versions of TLS and suites.
pub(crate) fn convert_versions(
    (min, max, cipher_suites): WrittenVersions,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> TlsVersions {
    let min = version(min, &at.field("minProtocolVersion"), check);
    let max = version(max, &at.field("maxProtocolVersion"), check);
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        check.invalid(
            &at.field("minProtocolVersion"),
            "is above maxProtocolVersion",
        );
    }
    TlsVersions {
        min,
        max,
        cipher_suites: convert_suites(cipher_suites, &at.field("cipherSuites"), check),
    }
}

/// As in Istio, what is no suite is passed over; but not all of a list, which would be every suite.
fn convert_suites(written: Vec<String>, at: &FieldPath, check: &mut Check<'_>) -> Vec<String> {
    let is_known = |it: &String| CIPHER_SUITES.contains(&it.as_str());
    let some = written.iter().any(is_known);
    let mut suites: Vec<String> = Vec::new();
    for (index, suite) in written.into_iter().enumerate() {
        let at = at.index(index);
        if OLD_CIPHER_SUITES.contains(&suite.as_str()) {
            check.unsupported(&at, &format!("cipher suite {suite}"));
        } else if !is_known(&suite) {
            let known = CIPHER_SUITES.join(", ");
            let what = format!("unknown suite `{suite}`; known: {known}");
            match some {
                true => check.warn(&at, what),
                false => check.invalid(&at, what),
            }
        } else if suites.contains(&suite) {
            check.warn(&at, format!("{suite} is there already"));
        } else {
            suites.push(suite);
        }
    }
    suites
}

fn version(text: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> Option<TlsVersion> {
    #[derive(Clone, Copy)]
    enum Choice {
        Auto,
        Old,
        Known(TlsVersion),
    }
    let choices = [
        ("TLS_AUTO", Choice::Auto),
        ("TLSV1_0", Choice::Old),
        ("TLSV1_1", Choice::Old),
        ("TLSV1_2", Choice::Known(TlsVersion::V1_2)),
        ("TLSV1_3", Choice::Known(TlsVersion::V1_3)),
    ];
    let text = filled(text)?;
    match check.choice(at, &text, &choices)? {
        Choice::Auto => None,
        Choice::Known(version) => Some(version),
        Choice::Old => {
            check.unsupported(at, &format!("{text} (it is insecure; write TLSV1_2)"));
            None
        }
    }
}
