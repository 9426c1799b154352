//! Which statistics a proxy has, as Istio's agent would tell an Envoy.
//!
//! In: `proxyStatsMatcher` and `extraStatTags`. Out: the bootstrap's `stats_config`. Called by
//! `bootstrap`.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::StartSettings;

/// Those that there always are: readiness and Istio's own metrics are made of them.
const PREFIXES: [&str; 7] = [
    "reporter=",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "wasm",
    "component",
];
/// The same: what policies decided.
const SUFFIXES: [&str; 4] = [
    "rbac.allowed",
    "rbac.denied",
    "shadow_allowed",
    "shadow_denied",
];

/// The configuration; `None` where nothing is said, so that there is everything.
pub(crate) fn config(start: &StartSettings, ip: IpAddr) -> Option<Value> {
    let StartSettings {
        stats_prefixes,
        stats_suffixes,
        stats_regexps,
        extra_stat_tags,
        // ignored: of the runtime, and of the identity.
        runtime_values: _,
        ca_certificates: _,
    } = start;
    let mut config = json!({});
    let chosen = [stats_prefixes, stats_suffixes, stats_regexps];
    if chosen.iter().any(|it| !it.is_empty()) {
        let here = |it: &String| it.replace("{pod_ip}", &ip.to_string());
        let always = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let prefixes = stats_prefixes.iter().map(here).chain(always(&PREFIXES));
        let suffixes = stats_suffixes.iter().map(here).chain(always(&SUFFIXES));
        let regexps = stats_regexps.iter().map(here);
        let patterns: Vec<_> = prefixes
            .map(|it| json!({ "prefix": it }))
            .chain(suffixes.map(|it| json!({ "suffix": it })))
            .chain(regexps.map(|it| json!({ "safe_regex": { "regex": it } })))
            .collect();
        config["stats_matcher"] = json!({ "inclusion_list": { "patterns": patterns } });
    }
    if !extra_stat_tags.is_empty() {
        let tag = |name: &String| json!({ "tag_name": name, "regex": tag_pattern(name) });
        config["stats_tags"] = extra_stat_tags.iter().map(tag).collect();
    }
    (config != json!({})).then_some(config)
}

/// Where Istio's metrics have a tag in their names: `NAME.=.VALUE;.`.
fn tag_pattern(name: &str) -> String {
    let name: String = name
        .chars()
        .flat_map(|it| {
            let plain = it.is_alphanumeric() || it == '_';
            (!plain).then_some('\\').into_iter().chain([it])
        })
        .collect();
    format!(r"({name}\.=\.(.*?);\.)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_is_everything() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(config(&StartSettings::default(), ip), None);
    }

    #[test]
    fn what_is_said_stands_before_what_there_always_is() {
        let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let start = StartSettings {
            stats_prefixes: texts(&["http.{pod_ip}_"]),
            stats_regexps: texts(&["a.*"]),
            extra_stat_tags: texts(&["team", "a.b"]),
            ..StartSettings::default()
        };
        let config = config(&start, IpAddr::from([10, 0, 0, 1])).expect("something");
        let patterns = &config["stats_matcher"]["inclusion_list"]["patterns"];
        assert_eq!(patterns[0], json!({ "prefix": "http.10.0.0.1_" }));
        assert_eq!(patterns[1], json!({ "prefix": "reporter=" }));
        assert_eq!(patterns[12], json!({ "safe_regex": { "regex": "a.*" } }));
        let tags = json!([
            { "tag_name": "team", "regex": r"(team\.=\.(.*?);\.)" },
            { "tag_name": "a.b", "regex": r"(a\.b\.=\.(.*?);\.)" },
        ]);
        assert_eq!(config["stats_tags"], tags);
    }
}
