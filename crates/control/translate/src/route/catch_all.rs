//! The virtual host of what the mesh does not know (FEATURES T15).
//!
//! In: the outbound traffic policy. Out: `allow_any`, or `block_all` with 502.

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, VirtualHost, route, route_action::ClusterSpecifier,
};

use super::action::cluster;
use super::matching::everything;
use super::timeout;
use crate::name::{DYNAMIC_DNS, PASSTHROUGH};
use crate::scope::Scope;

/// The virtual host; it must be the last.
pub(crate) fn virtual_host(scope: &Scope<'_>) -> VirtualHost {
    let proxy = scope
        .sidecar()
        .and_then(|it| it.outbound.as_ref()?.egress_proxy.as_ref());
    let proxy = proxy.map(|it| cluster(scope, it, it.port.unwrap_or(0)));
    let policy = scope.outbound_policy();
    let (name, action) = match policy {
        OutboundTrafficPolicy::AllowAny | OutboundTrafficPolicy::AllowAnyDynamicDns => {
            let default = match policy {
                OutboundTrafficPolicy::AllowAnyDynamicDns => DYNAMIC_DNS,
                _ => PASSTHROUGH,
            };
            let cluster = proxy.unwrap_or_else(|| default.to_owned());
            let mut action = RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
                ..Default::default()
            };
            timeout::apply(&mut action, None);
            ("allow_any", route::Action::Route(action))
        }
        OutboundTrafficPolicy::RegistryOnly => {
            let response = DirectResponseAction {
                status: 502,
                ..Default::default()
            };
            ("block_all", route::Action::DirectResponse(response))
        }
    };
    VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            name: name.to_owned(),
            r#match: Some(everything()),
            action: Some(action),
            ..Default::default()
        }],
        include_request_attempt_count: !scope.proxy_headers().no_attempt_count,
        ..Default::default()
    }
}
