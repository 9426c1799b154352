//! Path templates of RBAC policies: any text is read or refused, and what a template lets in fits
//! what is plain in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use meltemi_ir::{ConnectionFilter, HttpFilterKind, Rbac};
use meltemi_rbac::{Engine, Facts};

/// One policy of one template for everybody.
const BOOTSTRAP: &str = r#"{"static_resources": {"listeners": [{
  "name": "fuzz",
  "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
  "filter_chains": [{"filters": [{
    "name": "hcm",
    "typed_config": {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "fuzz",
      "route_config": {"virtual_hosts": []},
      "http_filters": [
        {"name": "envoy.filters.http.rbac", "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
          "rules": {"action": "ALLOW", "policies": {"one": {
            "principals": [{"any": true}],
            "permissions": [{"uri_template": {
              "name": "envoy.path.match.uri_template.uri_template_matcher",
              "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": TEMPLATE}}}]}}}}},
        {"name": "envoy.filters.http.router", "typed_config": {
          "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]}}"#;

/// A policy of this template, if it is one.
fn policy(template: &str) -> Option<Rbac> {
    let template = serde_json::to_string(template).expect("text");
    let text = BOOTSTRAP.replace("TEMPLATE", &template);
    let bootstrap = meltemi_config::bootstrap_from_yaml(&text, "fuzz").ok()?;
    let ConnectionFilter::Http(manager) = &bootstrap.listeners[0].filter_chains[0].filter else {
        panic!("it is a connection manager");
    };
    match &manager.filters[0].kind {
        HttpFilterKind::Rbac(filter) => filter.rules.as_deref().cloned(),
        other => panic!("{other:?} is no policy"),
    }
}

fuzz_target!(|input: (&str, &str)| {
    let (template, path) = input;
    let Some(rbac) = policy(template) else {
        return;
    };
    let engine = Engine::new(&rbac);
    let allowed = |path: &str| {
        let facts = Facts {
            path: Some(path),
            ..Facts::none()
        };
        engine.decide(&facts).allowed
    };
    // What comes before the first operator is text as it is.
    let plain = &template[..template.find(['*', '{']).unwrap_or(template.len())];
    if allowed(path) {
        assert!(path.starts_with(plain), "{template:?} lets {path:?} in");
    }
    if plain.len() == template.len() {
        assert!(allowed(template), "{template:?} does not let itself in");
        let bare = &path[..path.find(['?', '#']).unwrap_or(path.len())];
        assert_eq!(allowed(path), bare == template, "{template:?} and {path:?}");
    }
    // No operator stands for what begins a query or steps up.
    assert!(!allowed("?") && !allowed(""));
});
