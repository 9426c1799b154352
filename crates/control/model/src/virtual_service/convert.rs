//! Virtual services: from written to valid (FEATURES T4 to T10, R5, R6).

use meltemi_api::{FieldPath, virtual_service as api};

use super::convert_action::{convert_action, convert_headers, convert_rewrite};
use super::convert_cors::convert_cors;
use super::convert_fault::{WrittenMirrors, convert_fault, convert_mirrors};
use super::convert_l4::{convert_tcp, convert_tls};
use super::convert_match::convert_match;
use super::convert_retry::convert_retry;
use super::{GatewayName, GatewayRef, HttpAction, HttpRoute, VirtualService};
use crate::check::{Check, filled, is_dns_label, is_dns_subdomain};
use crate::support::{Row, rejected, supported};
use crate::{Hostname, Kind, Metadata, NamespaceName, export_to};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(Kind::VirtualService, "spec"),
    supported(Kind::VirtualService, "spec.http[].match[].headers[*]")
        .note("on gateways also JWT claims, @request.auth.claims"),
    rejected(
        Kind::VirtualService,
        "spec.http[].fault.delay.exponentialDelay",
    )
    .note("nor in Istio"),
    rejected(Kind::VirtualService, "spec.http[].fault.abort.http2Error").note("nor in Istio"),
    supported(Kind::VirtualService, "spec.http[].mirror").note("deprecated"),
    supported(Kind::VirtualService, "spec.http[].mirrorPercent").note("deprecated"),
    supported(Kind::VirtualService, "spec.http[].mirrorPercentage").note("deprecated"),
    supported(Kind::VirtualService, "spec.http[].corsPolicy.allowOrigin").note("deprecated"),
    rejected(Kind::VirtualService, "spec.tcp[].match[].sourceSubnet")
        .note("has no effect in Istio either"),
];

/// Checks a VirtualService.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::VirtualServiceSpec,
    check: &mut Check<'_>,
) -> VirtualService {
    let api::VirtualServiceSpec {
        hosts,
        gateways,
        http,
        tls,
        tcp,
        export_to,
    } = spec;
    let at = FieldPath::root().field("spec");
    let delegate = hosts.is_empty();
    if delegate && !gateways.is_empty() {
        let what = "a delegate (with no hosts) applies where it is delegated to; remove it";
        check.invalid(&at.field("gateways"), what);
    }
    let gateways = match gateways.is_empty() {
        true if delegate => Vec::new(),
        true => vec![GatewayRef::Mesh],
        false => convert_gateways(&gateways, &at.field("gateways"), check),
    };
    let in_mesh = gateways.contains(&GatewayRef::Mesh);
    let hosts = convert_hosts(&hosts, in_mesh, &at.field("hosts"), check);
    for (name, empty) in [("tls", tls.is_empty()), ("tcp", tcp.is_empty())] {
        if delegate && !empty {
            check.invalid(&at.field(name), "only http is delegated; remove it");
        }
    }
    let at_http = at.field("http");
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        check.invalid(&at_http, "at least one route is needed");
    }
    let http: Vec<_> = http
        .into_iter()
        .enumerate()
        .filter_map(|(index, route)| convert_route(route, &at_http.index(index), check))
        .collect();
    let by_claim = |it: &HttpRoute| {
        let mut matches = it.matches.iter();
        matches.any(|it| !it.claims.is_empty() || !it.without_claims.is_empty())
    };
    let mesh_only = !gateways.is_empty() && gateways.iter().all(|it| *it == GatewayRef::Mesh);
    if let Some(index) = http.iter().position(by_claim).filter(|_| mesh_only) {
        let what = "claims are known on gateways only, and `gateways` names none";
        check.invalid(&at_http.index(index).field("match"), what);
    }
    let delegates = |it: &HttpRoute| matches!(it.action, HttpAction::Delegate(_));
    if let Some(index) = http.iter().position(delegates).filter(|_| delegate) {
        let what = "a delegate does not delegate; write its routes";
        check.invalid(&at_http.index(index).field("delegate"), what);
    }
    let (at_tls, at_tcp) = (at.field("tls"), at.field("tcp"));
    let tls = tls
        .into_iter()
        .enumerate()
        .map(|(index, route)| convert_tls(route, &hosts, &at_tls.index(index), check))
        .collect();
    let tcp = tcp
        .into_iter()
        .enumerate()
        .map(|(index, route)| convert_tcp(route, &at_tcp.index(index), check))
        .collect();
    let export_to = export_to::convert(&export_to, &at.field("exportTo"), false, check);
    VirtualService {
        meta,
        hosts,
        gateways,
        http,
        tls,
        tcp,
        export_to,
    }
}

/// Checks a list of gateway names.
pub(super) fn convert_gateways(
    names: &[String],
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<GatewayRef> {
    names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| {
            let gateway = convert_gateway(name, check.namespace);
            if gateway.is_none() {
                let what = "write mesh, NAME or NAMESPACE/NAME";
                check.invalid(
                    &at.index(index),
                    format!("`{name}` is not a gateway; {what}"),
                );
            }
            gateway
        })
        .collect()
}

fn convert_gateway(name: &str, own: &NamespaceName) -> Option<GatewayRef> {
    if name == "mesh" {
        return Some(GatewayRef::Mesh);
    }
    let (namespace, name) = match name.split_once('/') {
        Some((_, name)) if name.contains('.') => return None,
        Some((".", name)) => (own.clone(), name),
        Some((namespace, name)) => (NamespaceName::from(namespace), name),
        // The old form: name.namespace.svc.cluster.local.
        None => match name.split_once('.') {
            Some((name, rest)) => (
                NamespaceName::from(rest.split('.').next().unwrap_or_default()),
                name,
            ),
            None => (own.clone(), name),
        },
    };
    let fine = is_dns_label(namespace.as_str()) && is_dns_subdomain(name);
    fine.then(|| {
        GatewayRef::Gateway(GatewayName {
            namespace,
            name: name.into(),
        })
    })
}

fn convert_hosts(
    names: &[String],
    in_mesh: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<Hostname> {
    let mut hosts: Vec<Hostname> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let at = at.index(index);
        let Some(host) = check.hostname(&at, name) else {
            continue;
        };
        if in_mesh && name == "*" {
            let what = "name the services, or bind it to a gateway";
            check.invalid(&at, format!("\"*\" would take the whole mesh; {what}"));
        }
        if let Some(other) = hosts.iter().find(|it| it.overlaps(&host)) {
            check.invalid(&at, format!("`{host}` overlaps `{other}`; keep one"));
        }
        hosts.push(host);
    }
    hosts
}

/// What goes nowhere is neither rewritten nor disturbed on the way.
fn check_conflicts(
    action: Option<&HttpAction>,
    rewritten: bool,
    faulty: bool,
    at: &FieldPath,
    check: &mut Check<'_>,
) {
    let what = match action {
        Some(HttpAction::Redirect(_)) => "a redirect",
        Some(HttpAction::Respond(_)) => "a direct response",
        Some(HttpAction::Forward(_) | HttpAction::Delegate(_)) | None => return,
    };
    let one = "remove one of the two";
    if rewritten {
        check.invalid(
            &at.field("rewrite"),
            format!("{what} is not rewritten; {one}"),
        );
    }
    if faulty {
        check.invalid(&at.field("fault"), format!("{what} has no faults; {one}"));
    }
}

fn convert_route(
    written: api::HttpRoute,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<HttpRoute> {
    let api::HttpRoute {
        name,
        r#match: matches,
        route,
        redirect,
        direct_response,
        delegate,
        rewrite,
        timeout,
        retries,
        fault,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percentage,
        cors_policy,
        headers,
    } = written;
    let at_match = at.field("match");
    let matches = matches
        .into_iter()
        .enumerate()
        .map(|(index, it)| convert_match(it, &at_match.index(index), check))
        .collect();
    let headers = convert_headers(headers, &at.field("headers"), check);
    let rewrite = rewrite.and_then(|it| convert_rewrite(it, &at.field("rewrite"), check));
    let timeout = check.duration(&at.field("timeout"), timeout.as_deref());
    let retries = retries.map(|it| convert_retry(it, &at.field("retries"), check));
    let cors = cors_policy.map(|it| convert_cors(it, &at.field("corsPolicy"), check));
    let written = (route, redirect, direct_response);
    let fault = fault.and_then(|it| convert_fault(it, &at.field("fault"), check));
    let mirrors = WrittenMirrors {
        mirror,
        percent: mirror_percent,
        percentage: mirror_percentage,
        mirrors,
    };
    let mirrors = convert_mirrors(mirrors, at, check);
    let action = convert_action(written, delegate, at, check);
    let (rewritten, faulty) = (rewrite.is_some(), fault.is_some());
    check_conflicts(action.as_ref(), rewritten, faulty, at, check);
    if rewrite
        .as_ref()
        .is_some_and(|rewrite| rewrite.authority.is_some())
    {
        let request = &headers.request;
        let host = request.set.iter().chain(&request.add);
        if host
            .clone()
            .any(|(name, _)| *name == "host" || *name == ":authority")
        {
            let what = "is set by rewrite.authority already; remove one";
            check.invalid(
                &at.field("headers").field("request"),
                format!("the host {what}"),
            );
        }
    }
    Some(HttpRoute {
        name: filled(name),
        matches,
        action: action?,
        rewrite,
        timeout,
        retries,
        headers,
        cors,
        fault,
        mirrors,
    })
}
