//! Route tables, virtual hosts and routes.

use std::collections::HashSet;
use std::sync::Arc;

use meltemi_ir::{
    Mirror, RequireTls, Route, RouteAction, RouteConfiguration, VirtualCluster, VirtualHost,
};
use meltemi_xds::pb::envoy::config::route::v3 as route_v3;
use meltemi_xds::pb::envoy::config::route::v3::route::Action;
use meltemi_xds::pb::envoy::config::route::v3::route_action::RequestMirrorPolicy;
use meltemi_xds::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;

use crate::config_source::delta_service;
use crate::cors::old_cors_policy;
use crate::fields::fields;
use crate::header::{header_name, request_changes, response_changes};
use crate::http_filter::local_ratelimit::rate_limit;
use crate::matcher::header_match;
use crate::metadata::metadata;
use crate::path::At;
use crate::per_filter::per_filter;
use crate::pieces::Elements;
use crate::retry::{hedge, retry_policy};
use crate::route_action::{by_template, direct, non_forwarding, redirect, target};
use crate::route_balance::mirror;
use crate::route_match::{route_match, template};
use crate::scalar::{enumeration, non_empty};
use crate::uri_template::Template;

/// A direct response's body has no more bytes than this, unless the route table says otherwise.
const DIRECT_BODY: u32 = 4096;

/// The field of a route table that holds its virtual hosts.
pub(crate) const VIRTUAL_HOSTS: u64 = 2;

/// A route table; `hosts` are the virtual hosts that were taken out of it.
pub(crate) fn route_configuration(
    message: &route_v3::RouteConfiguration,
    hosts: &[&[u8]],
    at: &At<'_>,
) -> Option<RouteConfiguration> {
    fields!(at, message, route_v3::RouteConfiguration {
        honoured {
            name, virtual_hosts, response_headers_to_add, response_headers_to_remove,
            request_headers_to_add, request_headers_to_remove,
            most_specific_header_mutations_wins, max_direct_response_body_size_bytes,
            ignore_port_in_host_matching, request_mirror_policies, internal_only_headers,
            vhost_header, ignore_path_parameters_in_path_matching,
        }
        partly {
            typed_per_filter_config: "the extensions listed below",
            vhds: "DELTA_GRPC, in tables that come over RDS, without request_mirror_policies and \
                   max_direct_response_body_size_bytes",
        }
        unsupported {
            cluster_specifier_plugins, route_specifiers,
        }
        ignored {
            validate_clusters: "a cluster that does not exist answers as the route says",
            metadata: "no filter of the proxy reads it",
        }
    });
    let scope = Scope {
        direct_body: max_direct_response_body_size_bytes.unwrap_or(DIRECT_BODY) as usize,
        mirrors: mirrors(request_mirror_policies, at),
    };
    let vhds = vhds.as_ref().and_then(|message| {
        if !request_mirror_policies.is_empty() {
            at.field("request_mirror_policies").refuse("not with vhds");
        }
        if max_direct_response_body_size_bytes.is_some() {
            at.field("max_direct_response_body_size_bytes")
                .refuse("not with vhds");
        }
        let at = &at.field("vhds");
        fields!(at, message, route_v3::Vhds { partly { config_source: "DELTA_GRPC" } });
        let at = &at.field("config_source");
        delta_service(config_source.as_ref(), at)
    });
    let hosts = Elements {
        decoded: virtual_hosts,
        encoded: hosts,
    };
    let mut domains = Domains::default();
    Some(RouteConfiguration {
        name: name.clone(),
        virtual_hosts: hosts.each(&at.field("virtual_hosts"), |host, at| {
            domains.add(host, at);
            virtual_host(host, &scope, at).map(Arc::new)
        }),
        request_headers: request_changes(request_headers_to_add, request_headers_to_remove, at),
        response_headers: response_changes(response_headers_to_add, response_headers_to_remove, at),
        ignore_port_in_host_matching: *ignore_port_in_host_matching,
        virtual_host_header: Some(vhost_header)
            .filter(|name| !name.is_empty())
            .and_then(|name| header_name(name, &at.field("vhost_header"))),
        ignore_path_parameters: *ignore_path_parameters_in_path_matching,
        internal_only_headers: at
            .field("internal_only_headers")
            .each(internal_only_headers, |name, at| header_name(name, at)),
        vhds,
        most_specific_header_mutations_wins: *most_specific_header_mutations_wins,
        filters: per_filter(typed_per_filter_config, at),
    })
}

/// A virtual host that comes by itself.
pub(crate) fn lone_virtual_host(
    message: &route_v3::VirtualHost,
    at: &At<'_>,
) -> Option<VirtualHost> {
    let scope = Scope {
        direct_body: DIRECT_BODY as usize,
        mirrors: Vec::new(),
    };
    virtual_host(message, &scope, at)
}

/// What the routes of a table share.
struct Scope {
    direct_body: usize,
    /// Where copies go of requests whose route says nothing of copies.
    mirrors: Vec<Mirror>,
}

/// The domains of a table so far: each may stand in one virtual host only.
#[derive(Default)]
struct Domains(HashSet<String>);

impl Domains {
    fn add(&mut self, host: &route_v3::VirtualHost, at: &At<'_>) {
        for (position, domain) in host.domains.iter().enumerate() {
            if !self.0.insert(domain.to_ascii_lowercase()) {
                at.field("domains")
                    .index(position)
                    .problem(format_args!("{domain:?} stands in this route table twice"));
            }
        }
    }
}

fn virtual_host(
    message: &route_v3::VirtualHost,
    scope: &Scope,
    at: &At<'_>,
) -> Option<VirtualHost> {
    fields!(at, message, route_v3::VirtualHost {
        honoured {
            name, domains, routes, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, cors,
            include_request_attempt_count, include_attempt_count_in_response, retry_policy,
            include_is_timeout_retry_header,
            hedge_policy,
            require_tls, request_mirror_policies, rate_limits,
            per_request_buffer_limit_bytes, request_body_buffer_limit, metadata,
        }
        partly {
            virtual_clusters: "without statistics of their own",
            typed_per_filter_config: "the extensions listed below",
        }
        refused {
            matcher: "list the routes",
            retry_policy_typed_config: "use retry_policy",
        }
        unsupported { route_specifiers }
    });
    let at_domains = &at.field("domains");
    if domains.is_empty() {
        at_domains.problem("must not be empty");
    }
    let require_tls = match enumeration(*require_tls, &at.field("require_tls")) {
        Some(TlsRequirementType::All) => RequireTls::All,
        Some(TlsRequirementType::ExternalOnly) => RequireTls::External,
        Some(TlsRequirementType::None) | None => RequireTls::None,
    };
    let cors = cors
        .as_ref()
        .and_then(|message| old_cors_policy(message, &at.field("cors")));
    let own_mirrors = mirrors(request_mirror_policies, at);
    let scope = &Scope {
        direct_body: scope.direct_body,
        mirrors: if own_mirrors.is_empty() {
            scope.mirrors.clone()
        } else {
            own_mirrors
        },
    };
    Some(VirtualHost {
        name: non_empty(name, &at.field("name")).to_owned(),
        domains: at_domains.each(domains, |domain, at| {
            Some(non_empty(domain, at).to_ascii_lowercase())
        }),
        routes: at.field("routes").each(routes, |message, at| {
            route(message, scope, at).map(Arc::new)
        }),
        require_tls,
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
        request_headers: request_changes(request_headers_to_add, request_headers_to_remove, at),
        response_headers: response_changes(response_headers_to_add, response_headers_to_remove, at),
        retry: retry_policy
            .as_ref()
            .map(|message| Arc::new(self::retry_policy(message, &at.field("retry_policy")))),
        cors,
        hedge_on_per_try_timeout: hedge_policy
            .as_ref()
            .is_some_and(|message| hedge(message, &at.field("hedge_policy"))),
        include_is_timeout_retry: *include_is_timeout_retry_header,
        include_request_attempt_count: *include_request_attempt_count,
        include_attempt_count_in_response: *include_attempt_count_in_response,
        filters: per_filter(typed_per_filter_config, at),
        rate_limits: at.field("rate_limits").each(rate_limits, rate_limit),
        virtual_clusters: at
            .field("virtual_clusters")
            .each(virtual_clusters, virtual_cluster),
        body_buffer_limit: body_limit(
            *request_body_buffer_limit,
            *per_request_buffer_limit_bytes,
            at,
        ),
    })
}

fn mirrors(messages: &[RequestMirrorPolicy], at: &At<'_>) -> Vec<Mirror> {
    at.field("request_mirror_policies").each(messages, mirror)
}

/// How much of a request is kept for a retry, by the newer field or the older.
fn body_limit(newer: Option<u64>, older: Option<u32>, at: &At<'_>) -> Option<u64> {
    if newer.is_some() && older.is_some() {
        at.field("request_body_buffer_limit")
            .problem("cannot be set together with per_request_buffer_limit_bytes");
    }
    newer.or(older.map(u64::from))
}

fn virtual_cluster(message: &route_v3::VirtualCluster, at: &At<'_>) -> Option<VirtualCluster> {
    fields!(at, message, route_v3::VirtualCluster { honoured { headers, name } });
    let at_headers = &at.field("headers");
    if headers.is_empty() {
        at_headers.problem("must not be empty");
    }
    Some(VirtualCluster {
        name: non_empty(name, &at.field("name")).to_owned(),
        headers: at_headers.each(headers, header_match),
    })
}

fn route(message: &route_v3::Route, scope: &Scope, at: &At<'_>) -> Option<Route> {
    fields!(at, message, route_v3::Route {
        honoured {
            name, r#match, metadata, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove,
            per_request_buffer_limit_bytes, request_body_buffer_limit,
        }
        partly {
            stat_prefix: "without statistics of its own",
            typed_per_filter_config: "the extensions listed below",
        }
        oneof { action {
            route: Honoured "",
            redirect: Honoured "",
            direct_response: Honoured "",
            non_forwarding_action: Honoured "",
            filter_action: Refused "",
        } }
        unsupported { route_specifiers }
        ignored {
            decorator: "it names spans, and there is no tracing",
            tracing: "there is no tracing",
        }
    });
    let at_match = &at.field("match");
    let matcher = match r#match {
        Some(message) => route_match(message, at_match),
        None => {
            at_match.problem("is required");
            None
        }
    };
    let template = r#match.as_ref().and_then(template);
    let action = route_action(action.as_ref(), template.as_ref(), scope, at);
    Some(Route {
        name: name.clone(),
        matcher: matcher?,
        action: action?,
        request_headers: request_changes(request_headers_to_add, request_headers_to_remove, at),
        response_headers: response_changes(response_headers_to_add, response_headers_to_remove, at),
        metadata: self::metadata(metadata.as_ref(), &at.field("metadata")),
        filters: per_filter(typed_per_filter_config, at),
        body_buffer_limit: body_limit(
            *request_body_buffer_limit,
            *per_request_buffer_limit_bytes,
            at,
        ),
        stat_prefix: stat_prefix.clone(),
    })
}

fn route_action(
    action: Option<&Action>,
    template: Option<&Template>,
    scope: &Scope,
    at: &At<'_>,
) -> Option<RouteAction> {
    match action {
        Some(Action::Route(message)) => {
            let at = &at.field("route");
            let mut target = target(message, at)?;
            if let Some(rewrite) = by_template(message, template, at) {
                target.path_rewrite = rewrite;
            }
            if target.mirrors.is_empty() {
                target.mirrors.clone_from(&scope.mirrors);
            }
            Some(RouteAction::Forward(Box::new(target)))
        }
        Some(Action::Redirect(message)) => Some(RouteAction::Redirect(redirect(
            message,
            &at.field("redirect"),
        ))),
        Some(Action::DirectResponse(message)) => {
            direct(message, scope.direct_body, &at.field("direct_response"))
                .map(RouteAction::Direct)
        }
        Some(Action::NonForwardingAction(message)) => {
            non_forwarding(message, &at.field("non_forwarding_action"));
            Some(RouteAction::NonForwarding)
        }
        Some(Action::FilterAction(_)) => {
            at.field("filter_action").refuse("");
            None
        }
        None => {
            at.problem("needs an action: route, redirect or direct_response");
            None
        }
    }
}
