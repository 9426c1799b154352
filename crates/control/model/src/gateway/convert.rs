//! Gateways: from written to valid (FEATURES T1 to T3).

use std::collections::BTreeSet;

use meltemi_api::{FieldPath, gateway as api};

use super::{
    Gateway, GatewayHost, GatewayPort, GatewayProtocol, HostNamespace, Server, convert_tls,
};
use crate::check::{Check, filled, is_dns_label};
use crate::support::{Row, rejected, supported};
use crate::{Kind, Metadata, NamespaceName};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::Gateway, "spec"),
    rejected(Kind::Gateway, "spec.servers[].port.targetPort").note("has no effect in Istio either"),
    rejected(Kind::Gateway, "spec.servers[].defaultEndpoint").note("has no effect in Istio either"),
    supported(Kind::Gateway, "spec.servers[].tls.cipherSuites")
        .note("ECDHE with AES-GCM or ChaCha20; none with CBC"),
    supported(Kind::Gateway, "spec.servers[].tls.minProtocolVersion").note("TLS 1.2 and 1.3"),
    supported(Kind::Gateway, "spec.servers[].tls.maxProtocolVersion").note("TLS 1.2 and 1.3"),
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
    if filled(default_endpoint).is_some() {
        check.invalid(&at.field("defaultEndpoint"), "has no effect; remove it");
    }
    let bind = filled(bind).and_then(|text| match text.parse() {
        Ok(ip) => Some(ip),
        Err(_) => {
            check.invalid(&at.field("bind"), format!("`{text}` is not an IP address"));
            None
        }
    });
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
    if https_redirect && (port.protocol.is_tls() || !port.protocol.is_http()) {
        let what = "has no effect, there is nothing to redirect to; it is for servers of HTTP";
        check.warn(&at_tls.field("httpsRedirect"), what);
    }
    let tls = match (port.protocol.is_tls(), tls) {
        (true, None) => {
            let what = "mode: SIMPLE and credentialName, or serverCertificate and privateKey";
            check.invalid(
                &at_tls,
                format!("this protocol needs TLS settings; write {what}"),
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
        bind,
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
        ("HTTP", GatewayProtocol::Http),
        ("HTTP2", GatewayProtocol::Http2),
        ("GRPC", GatewayProtocol::Grpc),
        ("GRPC-WEB", GatewayProtocol::GrpcWeb),
        ("HTTPS", GatewayProtocol::Https),
        ("TCP", GatewayProtocol::Tcp),
        ("TLS", GatewayProtocol::Tls),
        ("MONGO", GatewayProtocol::Mongo),
        ("MYSQL", GatewayProtocol::Mysql),
        ("REDIS", GatewayProtocol::Redis),
    ];
    let choice = match protocol.as_str() {
        "" => {
            check.invalid(
                &at_protocol,
                "a protocol is needed: HTTP, HTTPS, HTTP2, GRPC, TCP, TLS",
            );
            return None;
        }
        text => check.choice(&at_protocol, text, &choices),
    };
    let number = check.port(&at.field("number"), number.unwrap_or_default());
    Some(GatewayPort {
        number: number?,
        name,
        protocol: choice?,
    })
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
