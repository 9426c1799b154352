//! Gateways: from written to valid (FEATURES T1, T2 SIMPLE).

use std::collections::BTreeSet;

use meltemi_api::{FieldPath, gateway as api};

use super::{
    CertificateSource, Gateway, GatewayHost, GatewayPort, GatewayProtocol, HostNamespace, Server,
    ServerTls, TlsVersion,
};
use crate::check::{Check, filled, is_dns_label};
use crate::support::{Row, rejected, supported};
use crate::{Kind, Metadata, NamespaceName};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::Gateway, "spec.selector"),
    supported(Kind::Gateway, "spec.servers"),
    supported(Kind::Gateway, "spec.servers[].port").note("HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS"),
    rejected(Kind::Gateway, "spec.servers[].port.targetPort").note("has no effect in Istio either"),
    supported(Kind::Gateway, "spec.servers[].hosts"),
    supported(Kind::Gateway, "spec.servers[].name"),
    rejected(Kind::Gateway, "spec.servers[].bind"),
    rejected(Kind::Gateway, "spec.servers[].defaultEndpoint"),
    supported(Kind::Gateway, "spec.servers[].tls"),
    supported(Kind::Gateway, "spec.servers[].tls.mode").note("SIMPLE"),
    supported(Kind::Gateway, "spec.servers[].tls.cipherSuites")
        .note("ECDHE with AES-GCM or ChaCha20; none with CBC"),
    supported(Kind::Gateway, "spec.servers[].tls.minProtocolVersion").note("TLS 1.2 and 1.3"),
    supported(Kind::Gateway, "spec.servers[].tls.maxProtocolVersion").note("TLS 1.2 and 1.3"),
    rejected(Kind::Gateway, "spec.servers[].tls.caCertificates").note("with MUTUAL"),
    rejected(Kind::Gateway, "spec.servers[].tls.caCrl"),
    rejected(Kind::Gateway, "spec.servers[].tls.credentialNames"),
    rejected(Kind::Gateway, "spec.servers[].tls.caCertCredentialName"),
    rejected(Kind::Gateway, "spec.servers[].tls.tlsCertificates"),
    rejected(Kind::Gateway, "spec.servers[].tls.subjectAltNames"),
    rejected(Kind::Gateway, "spec.servers[].tls.verifyCertificateSpki"),
    rejected(Kind::Gateway, "spec.servers[].tls.verifyCertificateHash"),
];

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

/// Checks a Gateway.
pub(crate) fn convert(meta: Metadata, spec: api::GatewaySpec, check: &mut Check<'_>) -> Gateway {
    let api::GatewaySpec { servers, selector } = spec;
    let at = FieldPath::root().field("spec");
    let selector = check.labels(&at.field("selector"), selector);
    let at_servers = at.field("servers");
    if servers.is_empty() {
        check.invalid(&at_servers, "at least one server is needed");
    }
    let mut names = BTreeSet::new();
    let mut converted = Vec::new();
    for (index, server) in servers.into_iter().enumerate() {
        let at = at_servers.index(index);
        let Some(server) = convert_server(server, &at, check) else {
            continue;
        };
        if !names.insert(server.port.name.clone()) {
            let message = format!(
                "another server's port is named `{}` already",
                server.port.name
            );
            check.invalid(&at.field("port").field("name"), message);
        }
        converted.push(server);
    }
    Gateway {
        meta,
        selector,
        servers: converted,
    }
}

fn convert_server(written: api::Server, at: &FieldPath, check: &mut Check<'_>) -> Option<Server> {
    let api::Server {
        port,
        bind,
        hosts,
        tls,
        default_endpoint,
        name,
    } = written;
    check.unread(at, "defaultEndpoint", default_endpoint);
    if filled(bind).is_some() {
        check.unsupported(&at.field("bind"), "`bind`");
    }
    let at_hosts = at.field("hosts");
    if hosts.is_empty() {
        check.invalid(
            &at_hosts,
            "at least one host is needed; write \"*\" for all",
        );
    }
    let hosts = hosts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| convert_host(text, &at_hosts.index(index), check))
        .collect();
    let Some(port) = port else {
        check.invalid(&at.field("port"), "a port is needed");
        return None;
    };
    let port = convert_port(port, &at.field("port"), check)?;
    let at_tls = at.field("tls");
    let https_redirect = tls.as_ref().is_some_and(|tls| tls.https_redirect);
    let tls = match (port.protocol.is_tls(), tls) {
        (true, None) => {
            let what = "mode: SIMPLE and credentialName, or serverCertificate and privateKey";
            check.invalid(
                &at_tls,
                format!("protocol HTTPS needs TLS settings; write {what}"),
            );
            None
        }
        (true, Some(written)) => convert_tls(written, &at_tls, check),
        (false, Some(written)) => {
            only_redirect(&written, &at_tls, check);
            None
        }
        (false, None) => None,
    };
    Some(Server {
        port,
        hosts,
        https_redirect,
        tls,
        name: filled(name),
    })
}

fn convert_port(written: api::Port, at: &FieldPath, check: &mut Check<'_>) -> Option<GatewayPort> {
    let api::Port {
        number,
        protocol,
        name,
        target_port,
    } = written;
    if target_port.is_some() {
        check.invalid(
            &at.field("targetPort"),
            "has no effect on a gateway; remove it",
        );
    }
    if name.is_empty() {
        check.invalid(&at.field("name"), "a port needs a name");
    }
    let at_protocol = at.field("protocol");
    let choices = [
        ("HTTP", Some(GatewayProtocol::Http)),
        ("HTTP2", Some(GatewayProtocol::Http2)),
        ("GRPC", Some(GatewayProtocol::Grpc)),
        ("GRPC-WEB", Some(GatewayProtocol::GrpcWeb)),
        ("HTTPS", Some(GatewayProtocol::Https)),
        ("TCP", None),
        ("TLS", None),
        ("MONGO", None),
        ("MYSQL", None),
        ("REDIS", None),
    ];
    let choice = match protocol.as_str() {
        "" => {
            check.invalid(
                &at_protocol,
                "a protocol is needed: HTTP, HTTPS, HTTP2, GRPC",
            );
            return None;
        }
        text => check.choice(&at_protocol, text, &choices),
    };
    let number = check.port(&at.field("number"), number.unwrap_or_default());
    match choice? {
        Some(protocol) => Some(GatewayPort {
            number: number?,
            name,
            protocol,
        }),
        None => {
            check.unsupported(&at_protocol, &format!("protocol {protocol} on a gateway"));
            None
        }
    }
}

fn convert_host(text: &str, at: &FieldPath, check: &mut Check<'_>) -> Option<GatewayHost> {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (namespace, host),
        None => ("*", text),
    };
    let namespace = match namespace {
        "*" => HostNamespace::Any,
        "." => HostNamespace::Only(check.namespace.clone()),
        name if is_dns_label(name) => HostNamespace::Only(NamespaceName::from(name)),
        name => {
            check.invalid(
                at,
                format!("`{name}` is not a namespace; write one, \".\" or \"*\""),
            );
            return None;
        }
    };
    // A short name stays short here: a gateway's hosts are those of the outside.
    let qualified = check.hostname(at, host)?;
    let host = if host.contains('.') {
        qualified
    } else {
        crate::Hostname::new(host)
    };
    Some(GatewayHost { namespace, host })
}

/// On a plain port `httpsRedirect` is the only setting.
fn only_redirect(written: &api::ServerTlsSettings, at: &FieldPath, check: &mut Check<'_>) {
    let mode = written.mode.as_deref().unwrap_or_default();
    let others = [
        &written.server_certificate,
        &written.private_key,
        &written.ca_certificates,
        &written.credential_name,
    ];
    let passthrough = mode.is_empty() || mode.eq_ignore_ascii_case("PASSTHROUGH");
    if !passthrough || others.into_iter().any(Option::is_some) {
        let what = "write protocol: HTTPS, or keep httpsRedirect only";
        check.invalid(at, format!("a plain-text port has no TLS settings; {what}"));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passthrough,
    Simple,
    Other,
}

fn convert_tls(
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
    check.unread(at, "caCrl", ca_crl);
    check.unread(at, "credentialNames", credential_names);
    check.unread(at, "caCertCredentialName", ca_cert_credential_name);
    check.unread(at, "tlsCertificates", tls_certificates);
    check.unread(at, "subjectAltNames", subject_alt_names);
    check.unread(at, "verifyCertificateSpki", verify_certificate_spki);
    check.unread(at, "verifyCertificateHash", verify_certificate_hash);
    if filled(ca_certificates).is_some() {
        check.unsupported(&at.field("caCertificates"), "`caCertificates`");
    }
    let mode = filled(mode).unwrap_or_else(|| "PASSTHROUGH".to_owned());
    let modes = [
        ("PASSTHROUGH", Mode::Passthrough),
        ("SIMPLE", Mode::Simple),
        ("MUTUAL", Mode::Other),
        ("AUTO_PASSTHROUGH", Mode::Other),
        ("ISTIO_MUTUAL", Mode::Other),
        ("OPTIONAL_MUTUAL", Mode::Other),
    ];
    match check.choice(&at.field("mode"), &mode, &modes)? {
        Mode::Simple => {}
        Mode::Passthrough | Mode::Other => {
            check.unsupported(&at.field("mode"), &format!("TLS mode {mode} on a gateway"));
            return None;
        }
    }
    let certificate = match (
        filled(credential_name),
        filled(server_certificate),
        filled(private_key),
    ) {
        (Some(name), _, _) => Some(CertificateSource::Secret(name)),
        (None, Some(certificate), Some(key)) => Some(CertificateSource::Files { certificate, key }),
        (None, _, _) => {
            let what = "write credentialName, or serverCertificate and privateKey";
            check.invalid(at, format!("mode SIMPLE needs a certificate; {what}"));
            None
        }
    };
    let min_version = version(min_protocol_version, &at.field("minProtocolVersion"), check);
    let max_version = version(max_protocol_version, &at.field("maxProtocolVersion"), check);
    if min_version
        .zip(max_version)
        .is_some_and(|(min, max)| min > max)
    {
        check.invalid(
            &at.field("minProtocolVersion"),
            "is above maxProtocolVersion",
        );
    }
    let at_suites = at.field("cipherSuites");
    for (index, suite) in cipher_suites.iter().enumerate() {
        if OLD_CIPHER_SUITES.contains(&suite.as_str()) {
            check.unsupported(&at_suites.index(index), &format!("cipher suite {suite}"));
        } else if !CIPHER_SUITES.contains(&suite.as_str()) {
            let known = CIPHER_SUITES.join(", ");
            check.invalid(
                &at_suites.index(index),
                format!("unknown suite `{suite}`; known: {known}"),
            );
        }
    }
    Some(ServerTls {
        certificate: certificate?,
        min_version,
        max_version,
        cipher_suites,
    })
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
