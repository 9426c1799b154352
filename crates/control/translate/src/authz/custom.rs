//! External authorization (FEATURES S9).
//!
//! In: the policies with action CUSTOM and the mesh's extension providers. Out: for the provider a
//! filter whose tried rules mark the requests in question, and one that asks the provider about
//! those. Where there is no such provider, or more than one is named for a workload, the rules deny.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meltemi_model::{
    AuthorizationAction, AuthorizationPolicy, ExtAuthz, ExtAuthzHttp, ExtAuthzProtocol, Glob,
    ProviderKind, ProviderService,
};
use meltemi_xds::pb::envoy::config::core::v3::{
    ApiVersion, GrpcService, HeaderValue, HttpUri,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
    http_uri::HttpUpstreamType,
};
use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::config::rbac::v3::{Rbac, rbac::Action};
use meltemi_xds::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationRequest, AuthorizationResponse, BufferSettings, ExtAuthz as HttpExtAuthz,
    HttpService, ext_authz::Services,
};
use meltemi_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use meltemi_xds::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz as NetworkExtAuthz;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use meltemi_xds::pb::envoy::r#type::matcher::v3::{
    ListStringMatcher, MetadataMatcher, StringMatcher, string_matcher::MatchPattern,
};
use meltemi_xds::pb::envoy::r#type::v3::HttpStatus;

use super::matching::{metadata, text, value};
use super::{HTTP_RBAC, Layer, NETWORK_RBAC, TCP_PREFIX, rules};
use crate::cluster;
use crate::filter::{http_filter, network_filter};
use crate::name::SubsetKey;
use crate::proto::{duration, matching};
use crate::scope::Scope;

const HTTP_EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
const NETWORK_EXT_AUTHZ: &str = "envoy.filters.network.ext_authz";
/// What the names of rules begin with for which a provider is asked.
const RULE_PREFIX: &str = "istio-ext-authz-";
/// What the metadata of the marking filter begins with.
const SHADOW_PREFIX: &str = "istio_ext_authz_";
/// What the names of rules end with that deny for want of a provider.
const BAD_SUFFIX: &str = "-deny-due-to-bad-CUSTOM-action";
/// How long a provider may take where nothing is written.
const TIMEOUT: Duration = Duration::from_secs(600);

type Policies<'a> = [&'a Arc<AuthorizationPolicy>];

/// The filters for requests and for bytes.
pub(super) fn filters(
    scope: &Scope<'_>,
    policies: &Policies<'_>,
) -> (Vec<HttpFilter>, Vec<Filter>) {
    let named = |it: &AuthorizationPolicy| match &it.action {
        AuthorizationAction::Custom(provider) => Some(provider.clone()),
        AuthorizationAction::Allow | AuthorizationAction::Deny | AuthorizationAction::Audit => None,
    };
    let names: BTreeSet<_> = policies.iter().filter_map(|it| named(it)).collect();
    let (mut http, mut tcp) = (Vec::new(), Vec::new());
    for name in &names {
        let mine = policies.iter().copied();
        let mine: Vec<_> = mine.filter(|it| named(it).as_ref() == Some(name)).collect();
        // Which of several is to be asked first, nothing says.
        let provider = (names.len() == 1).then(|| provider(scope, name)).flatten();
        let made = |layer| Marking::new(scope, &mine, name, layer);
        match provider {
            None => {
                let rbac = HttpRbac {
                    rules: Some(made(Layer::Http).into_denying()),
                    ..Default::default()
                };
                http.push(http_filter(HTTP_RBAC, &rbac));
                let rbac = NetworkRbac {
                    rules: Some(made(Layer::Tcp).into_denying()),
                    stat_prefix: TCP_PREFIX.to_owned(),
                    ..Default::default()
                };
                tcp.push(network_filter(NETWORK_RBAC, &rbac));
            }
            Some(provider) => {
                http.push(http_filter(HTTP_RBAC, &made(Layer::Http).into_http()));
                http.push(http_filter(HTTP_EXT_AUTHZ, &provider.http(name)));
                // A provider that reads requests says nothing of bytes.
                if let Some(asking) = provider.network(name) {
                    let marking = made(Layer::Tcp).into_network();
                    tcp.push(network_filter(NETWORK_RBAC, &marking));
                    tcp.push(network_filter(NETWORK_EXT_AUTHZ, &asking));
                }
            }
        }
    }
    (http, tcp)
}

/// The rules that say for which requests a provider is asked.
struct Marking(Rbac);

impl Marking {
    fn new(scope: &Scope<'_>, policies: &Policies<'_>, provider: &str, layer: Layer) -> Self {
        let prefix = format!("{RULE_PREFIX}{provider}-");
        // A policy that is only tried out asks nobody.
        let mine = policies.iter().copied();
        let mine: Vec<_> = mine.filter(|it| !it.dry_run).collect();
        Self(rules::rules(
            scope.mesh(),
            &mine,
            Action::Deny,
            layer,
            &prefix,
        ))
    }

    fn into_denying(self) -> Rbac {
        let policies = self.0.policies.into_iter();
        Rbac {
            policies: policies
                .map(|(name, it)| (format!("{name}{BAD_SUFFIX}"), it))
                .collect(),
            ..self.0
        }
    }

    fn into_http(self) -> HttpRbac {
        HttpRbac {
            shadow_rules: Some(self.0),
            shadow_rules_stat_prefix: SHADOW_PREFIX.to_owned(),
            ..Default::default()
        }
    }

    fn into_network(self) -> NetworkRbac {
        NetworkRbac {
            shadow_rules: Some(self.0),
            shadow_rules_stat_prefix: SHADOW_PREFIX.to_owned(),
            stat_prefix: TCP_PREFIX.to_owned(),
            ..Default::default()
        }
    }
}

/// A provider and the service that it is.
struct Provider<'a> {
    settings: &'a ExtAuthz,
    host: String,
    cluster: String,
}

/// The provider of this name, if there is one and its service is there.
fn provider<'a>(scope: &Scope<'a>, name: &str) -> Option<Provider<'a>> {
    let mut all = scope.mesh().extension_providers.iter();
    let settings = match &all.find(|it| it.name == name)?.kind {
        ProviderKind::ExtAuthz(settings) => settings,
        // What takes logs decides nothing.
        ProviderKind::FileLog(_)
        | ProviderKind::HttpLog(_)
        | ProviderKind::TcpLog(_)
        | ProviderKind::OtelLog(_)
        | ProviderKind::Prometheus
        | ProviderKind::Secrets(_) => return None,
    };
    let ProviderService {
        namespace,
        host,
        port,
    } = &settings.service;
    let mut places = scope.namespaces_of(host);
    if let Some(namespace) = namespace {
        places.retain(|it| *it == namespace);
    }
    let key = SubsetKey {
        port: *port,
        subset: "",
        host: host.as_str(),
    };
    let provider = Provider {
        settings,
        host: host.to_string(),
        cluster: key.cluster(),
    };
    // Who cannot be asked over gRPC for want of a cluster is no provider: Envoy would refuse the
    // listener, and serve on without the policy.
    let can_be_asked = settings.protocol != ExtAuthzProtocol::Grpc
        || cluster::is_there(scope, host.as_str(), &provider.cluster);
    // Without a namespace the host must be there in one only.
    (places.len() == 1 && can_be_asked).then_some(provider)
}

impl Provider<'_> {
    fn http(&self, name: &str) -> HttpExtAuthz {
        let ExtAuthz {
            service: _, // ignored: looked up before
            timeout: _, // ignored: in the service
            fail_open,
            clear_route_cache,
            status_on_error,
            body,
            protocol,
        } = self.settings;
        let mut filter = HttpExtAuthz {
            status_on_error: status_on_error.map(|code| HttpStatus {
                code: i32::from(code),
            }),
            failure_mode_allow: *fail_open,
            clear_route_cache: *clear_route_cache,
            transport_api_version: ApiVersion::V3.into(),
            filter_enabled_metadata: Some(marked(HTTP_RBAC, name)),
            with_request_body: body.map(|it| BufferSettings {
                max_request_bytes: it.max_bytes,
                allow_partial_message: it.allow_partial,
                pack_as_bytes: it.as_bytes,
            }),
            ..Default::default()
        };
        match protocol {
            ExtAuthzProtocol::Grpc => filter.services = Some(Services::GrpcService(self.grpc())),
            ExtAuthzProtocol::Http(http) => {
                filter.allowed_headers = headers(&http.request_headers);
                filter.services = Some(Services::HttpService(self.http_service(http)));
            }
        }
        filter
    }

    fn network(&self, name: &str) -> Option<NetworkExtAuthz> {
        let grpc = self.settings.protocol == ExtAuthzProtocol::Grpc;
        grpc.then(|| NetworkExtAuthz {
            stat_prefix: TCP_PREFIX.to_owned(),
            failure_mode_allow: self.settings.fail_open,
            transport_api_version: ApiVersion::V3.into(),
            grpc_service: Some(self.grpc()),
            filter_enabled_metadata: Some(marked(NETWORK_RBAC, name)),
            ..Default::default()
        })
    }

    fn timeout(&self) -> prost_types::Duration {
        duration(self.settings.timeout.unwrap_or(TIMEOUT))
    }

    fn grpc(&self) -> GrpcService {
        GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: self.cluster.clone(),
                authority: self.host.clone(),
                ..Default::default()
            })),
            timeout: Some(self.timeout()),
            ..Default::default()
        }
    }

    fn http_service(&self, http: &ExtAuthzHttp) -> HttpService {
        let ExtAuthzHttp {
            path_prefix,
            request_headers: _, // ignored: a field of the filter
            additional_headers,
            to_upstream_on_allow,
            to_downstream_on_deny,
            to_downstream_on_allow,
        } = http;
        let added = additional_headers.iter().map(|(key, value)| HeaderValue {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        });
        let response = AuthorizationResponse {
            allowed_upstream_headers: headers(to_upstream_on_allow),
            allowed_client_headers: headers(to_downstream_on_deny),
            allowed_client_headers_on_success: headers(to_downstream_on_allow),
            ..Default::default()
        };
        HttpService {
            server_uri: Some(HttpUri {
                uri: format!("http://{}", self.host),
                timeout: Some(self.timeout()),
                http_upstream_type: Some(HttpUpstreamType::Cluster(self.cluster.clone())),
            }),
            path_prefix: path_prefix.clone().unwrap_or_default(),
            authorization_request: (!additional_headers.is_empty()).then(|| AuthorizationRequest {
                headers_to_add: added.collect(),
                ..Default::default()
            }),
            authorization_response: (response != AuthorizationResponse::default())
                .then_some(response),
            ..Default::default()
        }
    }
}

/// Whether a rule for this provider has marked the request.
fn marked(filter: &str, provider: &str) -> MetadataMatcher {
    let key = format!("{SHADOW_PREFIX}shadow_effective_policy_id");
    let prefix = MatchPattern::Prefix(format!("{RULE_PREFIX}{provider}"));
    metadata(filter, &[key], value(matching(prefix)))
}

/// A list of headers, whatever the case of their names; none for an empty one.
fn headers(list: &[String]) -> Option<ListStringMatcher> {
    let patterns = list.iter().map(|header| StringMatcher {
        ignore_case: true,
        ..text(&Glob::new(header), "")
    });
    (!list.is_empty()).then(|| ListStringMatcher {
        patterns: patterns.collect(),
    })
}
