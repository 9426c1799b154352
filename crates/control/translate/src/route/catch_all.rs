//! The virtual host of what the mesh does not know (FEATURES T15).
//!
//! In: the outbound traffic policy. Out: `allow_any`, or `block_all` with 502.

use meltemi_model::OutboundTrafficPolicy;
use meltemi_xds::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, VirtualHost, route, route_action::ClusterSpecifier,
};

use super::matching::everything;
use super::timeout;
use crate::name::PASSTHROUGH;

/// The virtual host; it must be the last.
pub(super) fn virtual_host(policy: OutboundTrafficPolicy) -> VirtualHost {
    let (name, action) = match policy {
        OutboundTrafficPolicy::AllowAny => {
            let mut action = RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(PASSTHROUGH.to_owned())),
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
        include_request_attempt_count: true,
        ..Default::default()
    }
}
