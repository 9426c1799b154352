use std::path::Path;

use meltemi_xds_client::ResourceType;

use super::{News, Wanted, read};
use meltemi_ir::ResourceSource;

const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// What is read of a file of this name and text, in a word or in the words of what is wrong.
fn outcome(kind: ResourceType, name: Option<&str>, file: &str, text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    if !text.is_empty() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = Wanted {
        kind,
        source: ResourceSource::Path(path.clone()),
        name: name.map(str::to_owned),
    };
    match read(&wanted, &path) {
        News::Update(update) => {
            assert_eq!(update.kind, kind);
            assert_eq!(update.complete, name.is_none());
            format!("{} of version {:?}", update.added.len(), update.version)
        }
        News::Unfit(reason) => format!("unfit: {reason}"),
        News::Connected | News::Disconnected(_) | News::Held(_) => unreachable!("of a file"),
        News::Unread(reason) => format!("unread: {}", without(&reason, directory.path())),
    }
}

fn without(text: &str, directory: &Path) -> String {
    text.replace(&directory.display().to_string(), "")
}

#[test]
fn files() {
    use ResourceType::{Cluster, Endpoint, Route};
    let table = format!("resources: [{{ '@type': {ROUTES}, name: web }}]\nversion_info: v1");
    let twice = format!("resources: [{{ '@type': {ROUTES} }}, {{ '@type': {ROUTES} }}]");
    let hosts =
        format!(r#"{{ "resources": [{{ "@type": "{ENDPOINTS}", "cluster_name": "a" }}] }}"#);
    for (kind, name, file, text, expected) in [
        (
            Route,
            Some("web"),
            "a.yaml",
            table.as_str(),
            "1 of version \"v1\"",
        ),
        (
            Route,
            Some("other"),
            "a.yml",
            &table,
            "unfit: resources[0].name: \"other\" is wanted, this is \"web\"",
        ),
        (
            Route,
            Some("web"),
            "a.yaml",
            &twice,
            "unfit: resources: one is wanted, there are 2",
        ),
        (Route, Some("web"), "a.yaml", "{}", "0 of version \"\""),
        (Endpoint, Some("a"), "a.json", &hosts, "1 of version \"\""),
        (
            Endpoint,
            Some("b"),
            "a.json",
            &hosts,
            "unfit: resources[0].cluster_name: \"b\" is wanted, this is \"a\"",
        ),
        (Cluster, None, "a.json", "{}", "0 of version \"\""),
        (
            Cluster,
            None,
            "a.json",
            "resources: []",
            "unread: /a.json:1:1: expected value at line 1 column 1",
        ),
        (
            Cluster,
            None,
            "a.pb",
            "{}",
            "unread: /a.pb: only YAML and JSON are read",
        ),
        (
            Cluster,
            None,
            "a.yaml",
            "resource: []",
            "unread: resource: envoy.service.discovery.v3.DiscoveryResponse has no such field",
        ),
        (
            Cluster,
            None,
            "a.yaml",
            "",
            "unread: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(outcome(kind, name, file, text), expected, "{text}");
    }
}
