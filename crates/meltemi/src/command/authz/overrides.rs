//! What the route of a request says of the connection manager's filters.
//!
//! In: the manager's route table and a request, as the proxy's own matcher sees it. Out: the settings of
//! filters, the narrowest scope first. Called by `verdict`, since a route may have policies of its own.

use std::sync::Arc;

use meltemi_http::{RequestView, RouteMatch, RouteTable};
use meltemi_ir::{RouteAction, RouteConfiguration, RouteFilter, RouteFilterSetting};

/// What a request's route, its virtual host and its table say of filters.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    /// The narrowest scope first.
    scopes: Vec<Vec<RouteFilter>>,
    /// What clusters say of which one is chosen by chance.
    by_chance: Vec<RouteFilter>,
}

impl Overrides {
    /// What holds for a request; nothing where no route is there for it.
    pub(super) fn of(table: &Arc<RouteConfiguration>, request: &RequestView<'_>) -> Self {
        let Ok(compiled) = RouteTable::new(table) else {
            return Self::default();
        };
        let RouteMatch::Route(index) = compiled.route(request) else {
            return Self::default();
        };
        let host = &table.virtual_hosts[index.host];
        let route = &host.routes[index.route];
        let clusters = match &route.action {
            RouteAction::Forward(target) => target.clusters.as_slice(),
            RouteAction::Redirect(_) | RouteAction::Direct(_) | RouteAction::NonForwarding => &[],
        };
        let (mut scopes, mut by_chance) = (Vec::new(), Vec::new());
        match clusters {
            [only] => scopes.push(only.filters.clone()),
            several => by_chance.extend(several.iter().flat_map(|it| it.filters.clone())),
        }
        scopes.push(route.filters.clone());
        scopes.push(host.filters.clone());
        scopes.push(table.filters.clone());
        Self { scopes, by_chance }
    }

    /// What is said of a filter.
    pub(super) fn setting(&self, filter: &str) -> Option<&RouteFilterSetting> {
        let mut scopes = self.scopes.iter();
        let found = scopes.find_map(|scope| scope.iter().find(|it| it.name == filter));
        found.map(|it| &it.setting)
    }

    /// Whether that depends on which cluster is chosen.
    pub(super) fn is_by_chance(&self, filter: &str) -> bool {
        self.by_chance.iter().any(|it| it.name == filter)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderMap;
    use meltemi_xds::json;

    use super::*;

    fn table() -> Arc<RouteConfiguration> {
        let rbac = |action: &str| {
            serde_json::json!({ "rbac": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                "rbac": { "rules": { "action": action } },
            } })
        };
        let off = serde_json::json!({ "rbac": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
        } });
        let message = serde_json::json!({ "virtual_hosts": [ {
            "name": "all", "domains": ["*"], "typed_per_filter_config": rbac("DENY"),
            "routes": [
                { "match": { "prefix": "/open" }, "direct_response": { "status": 200 },
                  "typed_per_filter_config": off },
                { "match": { "prefix": "/other", "headers": [{ "name": "x", "present_match": true }] },
                  "direct_response": { "status": 200 }, "typed_per_filter_config": rbac("ALLOW") },
                { "match": { "prefix": "/split" }, "route": { "weighted_clusters": { "clusters": [
                  { "name": "a", "weight": 1, "typed_per_filter_config": off },
                  { "name": "b", "weight": 1 } ] } } },
                { "match": { "prefix": "/" }, "direct_response": { "status": 200 } },
            ],
        } ] });
        let message = json::from_json(message).unwrap();
        Arc::new(meltemi_config::route_configuration(&message).unwrap())
    }

    #[test]
    fn the_narrowest_scope_decides() {
        let table = table();
        let mut headers = HeaderMap::new();
        headers.insert("x", "y".parse().unwrap());
        let none = HeaderMap::new();
        let of = |path: &str, headers: &HeaderMap| {
            let found = Overrides::of(
                &table,
                &RequestView {
                    method: "GET",
                    scheme: "http",
                    authority: "a.test",
                    path,
                    headers,
                    random: 0,
                    internal: false,
                    client_certificate: (false, false),
                    metadata: None,
                },
            );
            let setting = found.setting("rbac").map(|it| match it {
                RouteFilterSetting::Disabled => "off".to_owned(),
                RouteFilterSetting::Enabled => "on".to_owned(),
                RouteFilterSetting::Config(meltemi_ir::RouteFilterKind::Rbac(rbac)) => {
                    format!("{:?}", rbac.rules.as_ref().unwrap().action)
                }
                RouteFilterSetting::Config(other) => format!("{other:?}"),
            });
            (setting.unwrap_or_default(), found.is_by_chance("rbac"))
        };
        assert_eq!(of("/open", &none), ("off".to_owned(), false));
        assert_eq!(of("/other", &headers), ("Allow".to_owned(), false));
        assert_eq!(of("/other", &none), ("Deny".to_owned(), false));
        assert_eq!(of("/split", &none), ("Deny".to_owned(), true));
    }
}
