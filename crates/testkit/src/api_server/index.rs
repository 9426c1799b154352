//! What an API server says of itself: groups, versions, kinds. Clients such as kubectl ask for it first.

use serde_json::{Value, json};

use super::state::{KINDS, State};

/// What is at a path, if it is one of these.
pub(super) fn answer(path: &str, state: &State) -> Option<Value> {
    let groups = || KINDS.iter().map(|it| it.0).filter(|it| !it.is_empty());
    match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["version"] => Some(json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" })),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => {
            let mut names: Vec<_> = groups().collect();
            names.dedup();
            let groups: Vec<_> = names.into_iter().map(|it| group(it, state)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => Some(resources("", version, state)),
        ["apis", group, version] if groups().any(|it| it == group) => {
            Some(resources(group, version, state))
        }
        _ => None,
    }
}

fn group(name: &str, state: &State) -> Value {
    let kinds = KINDS.iter().filter(|it| it.0 == name);
    let mut versions: Vec<_> = kinds.flat_map(|it| state.versions(it.2)).collect();
    versions.sort();
    versions.dedup();
    let version = |it: &&String| json!({ "groupVersion": format!("{name}/{it}"), "version": it });
    let versions: Vec<_> = versions.iter().map(version).collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions.first() })
}

fn resources(group: &str, version: &str, state: &State) -> Value {
    let kinds = KINDS
        .iter()
        .filter(|it| it.0 == group && state.serves(it.2, version));
    let resources: Vec<_> = kinds
        .map(|(_, kind, plural, _)| {
            json!({
                "name": plural, "singularName": kind.to_lowercase(), "kind": kind,
                "namespaced": !matches!(*kind, "Namespace" | "Node"),
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        })
        .collect();
    let place = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": place, "resources": resources })
}
