//! What EnvoyFilters match: from written to valid.

use meltemi_api::{FieldPath, envoy_filter as api};

use super::{
    ApplyTo, ClusterMatch, FilterChainMatch, ListenerMatch, ObjectMatch, PatchContext, Pattern,
    ProxyMatch, RouteActionKind, RouteConfigurationMatch, RouteMatch,
};
use crate::check::{Check, filled};

/// The filter that holds HTTP filters.
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Checks the `match` of a patch.
pub(super) fn convert_match(
    written: api::ConfigMatch,
    apply_to: ApplyTo,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> (PatchContext, ProxyMatch, ObjectMatch) {
    let api::ConfigMatch {
        context,
        proxy,
        listener,
        route_configuration,
        cluster,
        waypoint,
    } = written;
    if waypoint.is_some() {
        check.unsupported(&at.field("waypoint"), "`waypoint`");
    }
    let context = convert_context(context, &at.field("context"), check);
    let proxy = convert_proxy(proxy.unwrap_or_default(), &at.field("proxy"), check);
    let given = [
        listener.as_ref().map(|_| "listener"),
        route_configuration.as_ref().map(|_| "routeConfiguration"),
        cluster.as_ref().map(|_| "cluster"),
    ];
    let wanted = match apply_to {
        ApplyTo::Listener
        | ApplyTo::FilterChain
        | ApplyTo::NetworkFilter
        | ApplyTo::HttpFilter
        | ApplyTo::ListenerFilter => Some("listener"),
        ApplyTo::RouteConfiguration | ApplyTo::VirtualHost | ApplyTo::HttpRoute => {
            Some("routeConfiguration")
        }
        ApplyTo::Cluster => Some("cluster"),
        ApplyTo::ExtensionConfig | ApplyTo::Bootstrap => None,
    };
    for name in given.into_iter().flatten().filter(|it| Some(*it) != wanted) {
        let what = match wanted {
            Some(wanted) => format!("{} is matched by `{wanted}`", apply_to.as_str()),
            None => format!("{} matches proxies only; remove it", apply_to.as_str()),
        };
        check.invalid(&at.field(name), what);
    }
    let object = match wanted {
        Some("listener") => listener.map(|it| {
            let at = at.field("listener");
            ObjectMatch::Listener(convert_listener(it, apply_to, &at, check))
        }),
        Some("routeConfiguration") => route_configuration.map(|it| {
            let at = at.field("routeConfiguration");
            ObjectMatch::RouteConfiguration(convert_table(it, context, &at, check))
        }),
        Some(_) => cluster.map(|it| {
            let at = at.field("cluster");
            ObjectMatch::Cluster(convert_cluster(it, &at, check))
        }),
        None => None,
    };
    (context, proxy, object.unwrap_or_default())
}

/// Whether a match names the filter that `apply_to` is about, without which nothing is replaced.
pub(super) fn names_filter(apply_to: ApplyTo, object: &ObjectMatch) -> bool {
    let ObjectMatch::Listener(listener) = object else {
        return false;
    };
    match apply_to {
        ApplyTo::HttpFilter => listener.chain.sub_filter.is_some(),
        ApplyTo::NetworkFilter => listener.chain.filter.is_some(),
        ApplyTo::ListenerFilter => listener.listener_filter.is_some(),
        _ => false,
    }
}

fn convert_context(written: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> PatchContext {
    let choices = [
        ("ANY", PatchContext::Any),
        ("SIDECAR_INBOUND", PatchContext::SidecarInbound),
        ("SIDECAR_OUTBOUND", PatchContext::SidecarOutbound),
        ("GATEWAY", PatchContext::Gateway),
    ];
    filled(written)
        .and_then(|text| check.choice(at, &text, &choices))
        .unwrap_or_default()
}

fn convert_proxy(written: api::ProxyMatch, at: &FieldPath, check: &mut Check<'_>) -> ProxyMatch {
    let api::ProxyMatch {
        proxy_version,
        metadata,
    } = written;
    let version = filled(proxy_version).and_then(|text| {
        let pattern = Pattern::new(&text);
        check.regex(&at.field("proxyVersion"), &text);
        pattern
    });
    ProxyMatch { version, metadata }
}

fn port(written: Option<i64>, at: &FieldPath, check: &mut Check<'_>) -> Option<u16> {
    let number = written.filter(|it| *it != 0)?;
    check.port(at, number)
}

fn convert_listener(
    written: api::ListenerMatch,
    apply_to: ApplyTo,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> ListenerMatch {
    let api::ListenerMatch {
        port_number,
        port_name,
        filter_chain,
        listener_filter,
        name,
    } = written;
    if filled(port_name).is_some() {
        check.unsupported(&at.field("portName"), "`portName`");
    }
    let at_chain = at.field("filterChain");
    ListenerMatch {
        port: port(port_number, &at.field("portNumber"), check),
        name: filled(name),
        listener_filter: filled(listener_filter),
        chain: filter_chain
            .map(|it| convert_chain(it, apply_to, &at_chain, check))
            .unwrap_or_default(),
    }
}

fn convert_chain(
    written: api::FilterChainMatch,
    apply_to: ApplyTo,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> FilterChainMatch {
    let api::FilterChainMatch {
        name,
        sni,
        transport_protocol,
        application_protocols,
        filter,
        destination_port,
    } = written;
    let at_filter = at.field("filter");
    let (filter, sub_filter) = match filter {
        Some(filter) => convert_filter(filter, apply_to, &at_filter, check),
        None => (None, None),
    };
    let protocols = filled(application_protocols).unwrap_or_default();
    let protocols = protocols.split(',').map(str::trim);
    FilterChainMatch {
        name: filled(name),
        sni: filled(sni),
        transport_protocol: filled(transport_protocol),
        application_protocols: protocols
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        destination_port: port(destination_port, &at.field("destinationPort"), check),
        filter,
        sub_filter,
    }
}

/// The names of a filter and of the one within it.
fn convert_filter(
    written: api::FilterMatch,
    apply_to: ApplyTo,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> (Option<String>, Option<String>) {
    let api::FilterMatch { name, sub_filter } = written;
    let name = filled(name).map(|it| current(it, &at.field("name"), check));
    if name.is_none() {
        check.invalid(&at.field("name"), "a filter's name is needed");
    }
    let Some(api::SubFilterMatch { name: within }) = sub_filter else {
        return (name, None);
    };
    let at = at.field("subFilter");
    let within = filled(within).map(|it| current(it, &at.field("name"), check));
    if apply_to != ApplyTo::HttpFilter {
        check.invalid(&at, "is for HTTP_FILTER; remove it");
    } else if name.as_deref().is_some_and(|it| it != CONNECTION_MANAGER) {
        check.invalid(
            &at,
            format!("is within {CONNECTION_MANAGER}; name that one"),
        );
    } else if within.is_none() {
        check.invalid(&at.field("name"), "a filter's name is needed");
    }
    (name, within)
}

/// The name that a filter has now.
fn current(name: String, at: &FieldPath, check: &mut Check<'_>) -> String {
    match canonical(&name) {
        Some(new) => {
            check.warn(at, format!("`{name}` is its old name; write {new}"));
            new.to_owned()
        }
        None => name,
    }
}

/// What Envoy calls a filter now, of a name that it had long ago and that matches nothing any more.
fn canonical(name: &str) -> Option<&'static str> {
    let names = [
        ("envoy.http_connection_manager", CONNECTION_MANAGER),
        ("envoy.router", "envoy.filters.http.router"),
        ("envoy.cors", "envoy.filters.http.cors"),
        ("envoy.fault", "envoy.filters.http.fault"),
        ("envoy.ext_authz", "envoy.filters.http.ext_authz"),
        ("envoy.rate_limit", "envoy.filters.http.ratelimit"),
        ("envoy.grpc_web", "envoy.filters.http.grpc_web"),
        ("envoy.tcp_proxy", "envoy.filters.network.tcp_proxy"),
        ("envoy.mongo_proxy", "envoy.filters.network.mongo_proxy"),
        ("envoy.redis_proxy", "envoy.filters.network.redis_proxy"),
        ("envoy.ratelimit", "envoy.filters.network.ratelimit"),
    ];
    let found = names.into_iter().find(|(old, _)| *old == name);
    found.map(|(_, new)| new)
}

fn convert_table(
    written: api::RouteConfigurationMatch,
    context: PatchContext,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> RouteConfigurationMatch {
    let api::RouteConfigurationMatch {
        port_number,
        port_name,
        gateway,
        vhost,
        name,
    } = written;
    let (port_name, gateway) = (filled(port_name), filled(gateway));
    let at_gateways = matches!(context, PatchContext::Any | PatchContext::Gateway);
    for (field, given) in [("portName", &port_name), ("gateway", &gateway)] {
        if given.is_some() && !at_gateways {
            check.invalid(&at.field(field), "is for context GATEWAY; remove it");
        }
    }
    let unqualified = gateway.as_deref().is_some_and(|it| !it.contains('/'));
    if unqualified {
        check.invalid(&at.field("gateway"), "write NAMESPACE/NAME");
    }
    let api::VirtualHostMatch {
        name: virtual_host,
        domain_name,
        route,
    } = vhost.unwrap_or_default();
    let at_route = at.field("vhost").field("route");
    RouteConfigurationMatch {
        port: port(port_number, &at.field("portNumber"), check),
        port_name,
        gateway,
        name: filled(name),
        virtual_host: filled(virtual_host),
        domain: filled(domain_name),
        route: route.map(|it| convert_route(it, &at_route, check)),
    }
}

fn convert_route(written: api::RouteMatch, at: &FieldPath, check: &mut Check<'_>) -> RouteMatch {
    let api::RouteMatch { name, action } = written;
    let choices = [
        ("ANY", None),
        ("ROUTE", Some(RouteActionKind::Route)),
        ("REDIRECT", Some(RouteActionKind::Redirect)),
        ("DIRECT_RESPONSE", Some(RouteActionKind::DirectResponse)),
    ];
    RouteMatch {
        name: filled(name),
        action: filled(action)
            .and_then(|text| check.choice(&at.field("action"), &text, &choices))
            .flatten(),
    }
}

fn convert_cluster(
    written: api::ClusterMatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> ClusterMatch {
    let api::ClusterMatch {
        port_number,
        service,
        subset,
        name,
    } = written;
    ClusterMatch {
        port: port(port_number, &at.field("portNumber"), check),
        service: filled(service),
        subset: filled(subset),
        name: filled(name),
    }
}
