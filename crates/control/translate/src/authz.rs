//! What guards a workload: external authorization, tokens, and who may do what (FEATURES S7 to S9).
//!
//! In: the policies that hold for the proxy's workload. Out: [`Guards`], the filters in Istio's order
//! and shape, for chains that read HTTP and for those that forward bytes. Called through
//! [`Scope::guards`](crate::scope::Scope), which makes them once.
//!
//! Nothing is left out that would keep somebody out: a provider that is not there makes its policies
//! deny, and a rule that cannot be had on a chain of bytes is dropped where it would allow and
//! widened where it would deny.

mod aliases;
mod custom;
mod jwt;
mod matching;
mod permission;
mod principal;
mod rules;
mod term;

use std::sync::Arc;

use meltemi_model::{AuthorizationAction, AuthorizationPolicy};
use meltemi_xds::pb::envoy::config::listener::v3::Filter;
use meltemi_xds::pb::envoy::config::rbac::v3::{Rbac, rbac::Action};
use meltemi_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use meltemi_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;

use crate::filter::{http_filter, network_filter};
use crate::scope::Scope;

pub(crate) use jwt::claim_matcher;

const HTTP_RBAC: &str = "envoy.filters.http.rbac";
const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
/// What the statistics of network filters begin with.
const TCP_PREFIX: &str = "tcp.";

/// The filters that guard a workload.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    /// On chains that read HTTP, in order.
    pub http: Vec<HttpFilter>,
    /// On chains that forward bytes, in order.
    pub tcp: Vec<Filter>,
}

/// What a chain carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// Requests.
    Http,
    /// Bytes.
    Tcp,
}

impl Guards {
    /// The guards of the proxy's workload.
    pub fn new(scope: &Scope<'_>) -> Self {
        let gateways = crate::gateway::instances(scope);
        let policies: Vec<_> = scope.authorization_policies(&gateways).collect();
        let (mut http, mut tcp) = custom::filters(scope, &policies);
        http.extend(jwt::filter(scope, &gateways));
        for action in [
            AuthorizationAction::Audit,
            AuthorizationAction::Deny,
            AuthorizationAction::Allow,
        ] {
            let mine = policies.iter().copied();
            let mine: Vec<_> = mine.filter(|it| it.action == action).collect();
            if mine.is_empty() {
                continue;
            }
            let envoy = match action {
                AuthorizationAction::Allow => Action::Allow,
                AuthorizationAction::Audit => Action::Log,
                AuthorizationAction::Deny | AuthorizationAction::Custom(_) => Action::Deny,
            };
            let made = Split::new(scope, &mine, envoy, Layer::Http);
            http.push(http_filter(HTTP_RBAC, &made.into_http()));
            let made = Split::new(scope, &mine, envoy, Layer::Tcp);
            tcp.push(network_filter(NETWORK_RBAC, &made.into_network()));
        }
        Self { http, tcp }
    }
}

/// What guards a gRPC server, which knows rules that allow and rules that deny. Nobody can be asked
/// there, so that what a provider would be asked about is denied.
pub(crate) fn of_grpc_server(scope: &Scope<'_>) -> Vec<HttpFilter> {
    let policies: Vec<_> = scope.authorization_policies(&[]).collect();
    let mut filters = Vec::new();
    for (name, action) in [("DENY", Action::Deny), ("ALLOW", Action::Allow)] {
        let mine = policies.iter().copied().filter(|it| match &it.action {
            AuthorizationAction::Allow => action == Action::Allow,
            AuthorizationAction::Deny | AuthorizationAction::Custom(_) => action == Action::Deny,
            AuthorizationAction::Audit => false,
        });
        let mine: Vec<_> = mine.filter(|it| !it.dry_run).collect();
        if !mine.is_empty() {
            let rbac = HttpRbac {
                rules: Some(rules::rules(scope.mesh(), &mine, action, Layer::Http, "")),
                ..Default::default()
            };
            filters.push(http_filter(&format!("{HTTP_RBAC}.{name}"), &rbac));
        }
    }
    filters
}

/// The rules of an action, those that are only tried out apart.
struct Split {
    enforced: Option<Rbac>,
    tried: Option<Rbac>,
}

impl Split {
    fn new(
        scope: &Scope<'_>,
        policies: &[&Arc<AuthorizationPolicy>],
        action: Action,
        layer: Layer,
    ) -> Self {
        let of = |dry_run: bool| {
            let mine = policies.iter().copied();
            let mine: Vec<_> = mine.filter(|it| it.dry_run == dry_run).collect();
            (!mine.is_empty()).then(|| rules::rules(scope.mesh(), &mine, action, layer, ""))
        };
        Self {
            enforced: of(false),
            tried: of(true),
        }
    }

    /// What the statistics and the metadata of tried rules begin with.
    fn prefix(&self) -> String {
        let action = self.tried.as_ref().map(Rbac::action);
        match action.unwrap_or(Action::Allow) {
            Action::Allow => "istio_dry_run_allow_",
            Action::Deny => "istio_dry_run_deny_",
            Action::Log => "",
        }
        .to_owned()
    }

    fn into_http(self) -> HttpRbac {
        HttpRbac {
            shadow_rules_stat_prefix: self.prefix(),
            rules: self.enforced,
            shadow_rules: self.tried,
            ..Default::default()
        }
    }

    fn into_network(self) -> NetworkRbac {
        NetworkRbac {
            shadow_rules_stat_prefix: self.prefix(),
            stat_prefix: TCP_PREFIX.to_owned(),
            rules: self.enforced,
            shadow_rules: self.tried,
            ..Default::default()
        }
    }
}
