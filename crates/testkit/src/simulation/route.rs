//! Virtual host, route and cluster: the last choices of an HTTP call.

use meltemi_xds::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route, route_action::ClusterSpecifier,
    route_match::PathSpecifier, virtual_host::TlsRequirementType,
};

use super::{Call, CallError, CallTls, Outcome};

/// Fills in which virtual host, route and cluster of a table a call meets.
pub(super) fn choose(
    table: &RouteConfiguration,
    call: &Call,
    outcome: &mut Outcome,
) -> Result<(), CallError> {
    let mut host = call.host.as_deref().unwrap_or_default();
    if table.ignore_port_in_host_matching {
        host = without_port(host);
    }
    let virtual_host = virtual_host(&table.virtual_hosts, host).ok_or(CallError::NoVirtualHost)?;
    outcome.virtual_host.clone_from(&virtual_host.name);
    let redirects = virtual_host.require_tls == i32::from(TlsRequirementType::All);
    if redirects && call.tls == CallTls::Plaintext {
        return Err(CallError::TlsRedirect);
    }
    let mut routes = virtual_host.routes.iter();
    let route = routes
        .find(|it| matches_path(it, &call.path))
        .ok_or(CallError::NoRoute)?;
    outcome.route.clone_from(&route.name);
    if let Some(cluster) = cluster_of(route) {
        cluster.clone_into(&mut outcome.cluster);
    }
    Ok(())
}

/// The one cluster that a route leads to, if it is one.
pub(super) fn cluster_of(route: &Route) -> Option<&str> {
    match route.action.as_ref()? {
        route::Action::Route(action) => match action.cluster_specifier.as_ref()? {
            ClusterSpecifier::Cluster(cluster) => Some(cluster),
            _ => None,
        },
        _ => None,
    }
}

fn virtual_host<'a>(hosts: &'a [VirtualHost], host: &str) -> Option<&'a VirtualHost> {
    let exact = hosts
        .iter()
        .find(|it| it.domains.iter().any(|domain| domain == host));
    let longest = |fits: &dyn Fn(&str) -> bool| {
        let mut best: Option<(usize, &VirtualHost)> = None;
        for it in hosts {
            for domain in it.domains.iter().filter(|domain| fits(domain)) {
                if best.is_none_or(|(length, _)| domain.len() > length) {
                    best = Some((domain.len(), it));
                }
            }
        }
        best.map(|(_, it)| it)
    };
    let long_enough = |domain: &str| host.len() >= domain.len();
    exact
        .or_else(|| {
            longest(&|domain| {
                let suffix = domain.strip_prefix('*');
                suffix.is_some_and(|it| long_enough(domain) && host.ends_with(it))
            })
        })
        .or_else(|| {
            longest(&|domain| {
                let prefix = domain.strip_suffix('*').filter(|it| !it.is_empty());
                prefix.is_some_and(|it| long_enough(domain) && host.starts_with(it))
            })
        })
        .or_else(|| {
            let any = |it: &&VirtualHost| it.domains.iter().any(|domain| domain == "*");
            hosts.iter().find(any)
        })
}

fn matches_path(route: &Route, path: &str) -> bool {
    let specifier = route
        .r#match
        .as_ref()
        .and_then(|it| it.path_specifier.as_ref());
    match specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => {
            path.starts_with(prefix.as_str())
        }
        Some(PathSpecifier::Path(exact)) => path == exact,
        Some(PathSpecifier::SafeRegex(matcher)) => {
            regex::Regex::new(&matcher.regex).is_ok_and(|it| it.is_match(path))
        }
        _ => false,
    }
}

/// A host without `:PORT`; brackets of an IPv6 address go with it, as Go's `SplitHostPort` has it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => {
            if let Some(inner) = name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                inner
            } else if name.contains(':') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}
