//! Sidecars: from written to valid (FEATURES T14).

use std::net::IpAddr;

use meltemi_api::gateway::Port;
use meltemi_api::{FieldPath, sidecar as api};

use super::{
    Bind, CaptureMode, DefaultEndpoint, EgressListener, ImportedHost, ImportedNamespace,
    IngressListener, Sidecar, SidecarOutbound, SidecarPort,
};
use crate::check::{Check, filled, is_dns_label};
use crate::destination_rule::convert_pool;
use crate::gateway::convert_tls;
use crate::service_entry::{convert_protocol, convert_selector};
use crate::support::{Row, supported};
use crate::virtual_service::convert_destination;
use crate::{
    Hostname, Kind, Labels, Metadata, NamespaceName, OutboundTrafficPolicy, Protocol, ServerTls,
};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::Sidecar, "spec"),
    supported(Kind::Sidecar, "spec.ingress[].tls").note("SIMPLE and MUTUAL, with files"),
];

/// Checks a Sidecar.
pub(crate) fn convert(meta: Metadata, spec: api::SidecarSpec, check: &mut Check<'_>) -> Sidecar {
    let api::SidecarSpec {
        workload_selector,
        ingress,
        egress,
        inbound_connection_pool,
        outbound_traffic_policy,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_selector = at.field("workloadSelector");
    let selector = convert_selector(workload_selector, &at_selector, check);
    if selector.as_ref().is_some_and(Labels::is_empty) {
        let what = "selects every workload of the namespace; write labels, or leave it out";
        check.warn(&at_selector, what);
    }
    let selector = selector.filter(|it| !it.is_empty());
    let empty = ingress.is_empty()
        && egress.is_empty()
        && inbound_connection_pool.is_none()
        && outbound_traffic_policy.is_none();
    if empty {
        let what = "egress, ingress, outboundTrafficPolicy, inboundConnectionPool";
        check.invalid(&at, format!("says nothing; write one of {what}"));
    }
    let at_ingress = at.field("ingress");
    let mut listeners: Vec<IngressListener> = Vec::new();
    for (index, written) in ingress.into_iter().enumerate() {
        let at = at_ingress.index(index);
        let Some(listener) = convert_ingress(written, &at, check) else {
            continue;
        };
        let same = |it: &IngressListener| it.port.number == listener.port.number;
        if listeners.iter().any(same) {
            let message = format!("port {} is there already", listener.port.number);
            check.invalid(&at.field("port"), message);
        }
        listeners.push(listener);
    }
    let egress = convert_egresses(egress, &at.field("egress"), check);
    Sidecar {
        meta,
        workload_selector: selector,
        ingress: listeners,
        egress,
        outbound: outbound_traffic_policy
            .map(|it| convert_outbound(it, &at.field("outboundTrafficPolicy"), check)),
        inbound_pool: convert_pool(
            inbound_connection_pool,
            &at.field("inboundConnectionPool"),
            check,
        ),
    }
}

fn convert_egresses(
    written: Vec<api::IstioEgressListener>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<EgressListener> {
    let mut listeners: Vec<EgressListener> = Vec::new();
    let last = written.len().saturating_sub(1);
    for (index, written) in written.into_iter().enumerate() {
        let at = at.index(index);
        let rest = written.port.is_none();
        let listener = convert_egress(written, &at, check);
        if rest && index != last {
            check.invalid(&at, "is for everything else, so that it comes last");
        }
        let number = |it: &EgressListener| it.port.as_ref().map(|it| it.number);
        let unix = |it: &EgressListener| match &it.bind {
            Some(Bind::Unix(path)) => Some(path.clone()),
            Some(Bind::Ip(_)) | None => None,
        };
        let own = (number(&listener).filter(|it| *it != 0), unix(&listener));
        let same = |it: &EgressListener| match &own {
            (Some(own), _) => number(it) == Some(*own),
            (None, Some(own)) => unix(it).as_ref() == Some(own),
            (None, None) => false,
        };
        if listeners.iter().any(same) {
            check.invalid(&at.field("port"), "another listener has this port already");
        }
        listeners.push(listener);
    }
    listeners
}

fn convert_outbound(
    written: api::OutboundTrafficPolicy,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> SidecarOutbound {
    let api::OutboundTrafficPolicy { mode, egress_proxy } = written;
    let choices = [
        ("REGISTRY_ONLY", OutboundTrafficPolicy::RegistryOnly),
        ("ALLOW_ANY", OutboundTrafficPolicy::AllowAny),
        (
            "ALLOW_ANY_DYNAMIC_DNS",
            OutboundTrafficPolicy::AllowAnyDynamicDns,
        ),
    ];
    let mode = filled(mode).and_then(|text| check.choice(&at.field("mode"), &text, &choices));
    let mode = mode.unwrap_or(OutboundTrafficPolicy::RegistryOnly);
    let at_proxy = at.field("egressProxy");
    if egress_proxy.as_ref().is_some_and(|it| it.port.is_none()) {
        check.invalid(&at_proxy.field("port"), "a port is needed");
    }
    let egress_proxy = egress_proxy.and_then(|it| convert_destination(it, &at_proxy, check));
    if egress_proxy
        .as_ref()
        .is_some_and(|it| it.host.is_wildcard())
    {
        check.invalid(&at_proxy.field("host"), "a wildcard is no proxy; name it");
    }
    if egress_proxy.is_some() && mode != OutboundTrafficPolicy::AllowAny {
        check.invalid(&at_proxy, "needs mode ALLOW_ANY");
    }
    SidecarOutbound { mode, egress_proxy }
}

fn convert_ingress(
    written: api::IstioIngressListener,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<IngressListener> {
    let api::IstioIngressListener {
        port,
        bind,
        capture_mode,
        default_endpoint,
        tls,
        connection_pool,
    } = written;
    let at_port = at.field("port");
    let port = match port {
        Some(port) => convert_port(port, false, &at_port, check),
        None => {
            check.invalid(&at_port, "a port is needed");
            None
        }
    };
    let at_bind = at.field("bind");
    let bind = match convert_bind(bind, &at_bind, check) {
        Some(Bind::Ip(ip)) => Some(ip),
        Some(Bind::Unix(_)) => {
            check.invalid(
                &at_bind,
                "requests come in at an address, not a Unix socket",
            );
            None
        }
        None => None,
    };
    let at_tls = at.field("tls");
    if let Some(tls) = &tls {
        let gateways = [
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("httpsRedirect", tls.https_redirect),
            ("credentialName", tls.credential_name.is_some()),
            ("credentialNames", !tls.credential_names.is_empty()),
        ];
        for (name, _) in gateways.into_iter().filter(|it| it.1) {
            check.invalid(&at_tls.field(name), "is for gateways; sidecars have files");
        }
    }
    let tls = tls.and_then(|it| convert_tls(it, &at_tls, check));
    if let (Some(tls), Some(port)) = (&tls, &port) {
        if !matches!(
            tls,
            ServerTls::Simple(_) | ServerTls::Mutual(_) | ServerTls::OptionalMutual(_)
        ) {
            check.invalid(&at_tls.field("mode"), "write SIMPLE or MUTUAL");
        }
        if !port.protocol.is_tls() {
            let what = "has no meaning without protocol HTTPS or TLS";
            check.invalid(&at_tls, what);
        }
    }
    let at_endpoint = at.field("defaultEndpoint");
    let default_endpoint = filled(default_endpoint)
        .and_then(|text| convert_default_endpoint(&text, &at_endpoint, check));
    Some(IngressListener {
        port: port?,
        bind,
        capture_mode: convert_capture(capture_mode, at, check),
        default_endpoint,
        tls,
        pool: convert_pool(connection_pool, &at.field("connectionPool"), check),
    })
}

fn convert_default_endpoint(
    text: &str,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<DefaultEndpoint> {
    if let Some(path) = text.strip_prefix("unix://") {
        check_socket(path, at, check);
        return Some(DefaultEndpoint::Unix(path.to_owned()));
    }
    // Without an address it is the usual one.
    let text = match text.strip_prefix(':') {
        Some(port) if !port.contains(':') => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.parse::<IpAddr>().ok()?, port.parse::<u16>().ok()?))
    });
    match parsed {
        Some((_, 0)) | None => {}
        Some((ip, port)) if ip.is_loopback() => return Some(DefaultEndpoint::Loopback(ip, port)),
        Some((ip, port)) if ip.is_unspecified() => return Some(DefaultEndpoint::Instance(port)),
        Some(_) => {}
    }
    let what = "write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///PATH";
    check.invalid(
        at,
        format!("`{text}` is not where an application is; {what}"),
    );
    None
}

fn convert_egress(
    written: api::IstioEgressListener,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> EgressListener {
    let api::IstioEgressListener {
        port,
        bind,
        capture_mode,
        hosts,
    } = written;
    let bind = convert_bind(bind, &at.field("bind"), check);
    let unix = matches!(bind, Some(Bind::Unix(_)));
    let at_port = at.field("port");
    if port.is_none() && bind.is_some() {
        check.invalid(&at_port, "a listener that is bound needs a port");
    }
    let port = port.and_then(|it| convert_port(it, unix, &at_port, check));
    let at_hosts = at.field("hosts");
    if hosts.is_empty() {
        check.invalid(
            &at_hosts,
            "at least one host is needed; write \"*/*\" for all",
        );
    }
    let capture_mode = convert_capture(capture_mode, at, check);
    if unix && capture_mode == CaptureMode::Iptables {
        let what = "nothing is intercepted on its way to a Unix socket";
        check.invalid(&at.field("captureMode"), what);
    }
    EgressListener {
        port,
        bind,
        capture_mode,
        hosts: hosts
            .iter()
            .enumerate()
            .filter_map(|(index, text)| convert_host(text, &at_hosts.index(index), check))
            .collect(),
    }
}

fn convert_host(text: &str, at: &FieldPath, check: &mut Check<'_>) -> Option<ImportedHost> {
    let Some((namespace, host)) = text.split_once('/') else {
        check.invalid(
            at,
            format!("`{text}` names no namespace; write NAMESPACE/HOST"),
        );
        return None;
    };
    let namespace = match namespace {
        "*" => ImportedNamespace::Any,
        "." => ImportedNamespace::Own,
        "~" => ImportedNamespace::Nothing,
        name if is_dns_label(name) => ImportedNamespace::Named(NamespaceName::from(name)),
        name => {
            let what = "write one, \".\", \"*\" or \"~\"";
            check.invalid(at, format!("`{name}` is not a namespace; {what}"));
            return None;
        }
    };
    check.hostname(at, host)?;
    Some(ImportedHost {
        namespace,
        host: Hostname::new(host),
    })
}

fn convert_port(
    written: Port,
    unix: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<SidecarPort> {
    let Port {
        number,
        protocol,
        name,
        target_port,
    } = written;
    if target_port.is_some_and(|it| it != 0) {
        check.invalid(&at.field("targetPort"), "has no effect here; remove it");
    }
    let number = match number.unwrap_or_default() {
        0 if unix => Some(0),
        number => check.port(&at.field("number"), number),
    };
    if !name.is_empty() && !is_dns_label(&name) {
        let what = "use at most 63 lower-case letters, digits and inner dashes";
        check.invalid(
            &at.field("name"),
            format!("`{name}` is not a port's name; {what}"),
        );
    }
    let explicit_proxy = protocol.eq_ignore_ascii_case("HTTP_PROXY");
    let protocol = if explicit_proxy {
        Protocol::Http
    } else {
        convert_protocol(&protocol, &at.field("protocol"), check)
    };
    Some(SidecarPort {
        number: number?,
        protocol,
        explicit_proxy,
        name,
    })
}

fn convert_bind(text: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> Option<Bind> {
    let text = filled(text)?;
    if let Some(path) = text.strip_prefix("unix://") {
        check_socket(path, at, check);
        return Some(Bind::Unix(path.to_owned()));
    }
    match text.parse() {
        Ok(ip) => Some(Bind::Ip(ip)),
        Err(_) => {
            check.invalid(
                at,
                format!("`{text}` is not an IP address, nor unix:///PATH"),
            );
            None
        }
    }
}

/// The path of a Unix socket: absolute, or abstract with an `@` before it.
fn check_socket(path: &str, at: &FieldPath, check: &mut Check<'_>) {
    let fits = path.starts_with('@') || path.starts_with('/') && !path.ends_with('/');
    if !fits {
        check.invalid(at, format!("`{path}` is not the path of a Unix socket"));
    }
}

fn convert_capture(text: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> CaptureMode {
    let choices = [
        ("DEFAULT", CaptureMode::Default),
        ("IPTABLES", CaptureMode::Iptables),
        ("NONE", CaptureMode::None),
    ];
    filled(text)
        .and_then(|text| check.choice(&at.field("captureMode"), &text, &choices))
        .unwrap_or_default()
}
