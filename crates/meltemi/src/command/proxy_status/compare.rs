//! Whether a proxy has what the control plane would send it.
//!
//! In: the configuration dumps of both. Out: a line for each kind where they are the same, and the
//! difference where they are not, as `istioctl proxy-status POD` prints them.

use meltemi_xds::json::{JsonStyle, to_json_with};
use prost::{Message, Name};
use similar::TextDiff;

use crate::config_dump::{ConfigDump, Found};

/// Compares.
pub(super) fn compare(control_plane: &ConfigDump, proxy: &ConfigDump) -> String {
    let (ours, theirs) = (control_plane.delivered(), proxy.delivered());
    [
        kind("Clusters", &ours.clusters, &theirs.clusters),
        kind("Listeners", &ours.listeners, &theirs.listeners),
        kind("Routes", &ours.routes, &theirs.routes),
    ]
    .concat()
}

fn kind<M: Message + Name>(what: &str, ours: &Found<M>, theirs: &Found<M>) -> String {
    let (ours, theirs) = (written(ours), written(theirs));
    if ours == theirs {
        return format!("{what} Match\n");
    }
    let difference = TextDiff::from_lines(&ours, &theirs);
    let text = difference
        .unified_diff()
        .context_radius(3)
        .header(&format!("Control plane {what}"), &format!("Proxy {what}"))
        .to_string();
    format!("{what} Don't Match\n{text}")
}

/// The messages in the order of their names, as JSON.
fn written<M: Message + Name>(found: &Found<M>) -> String {
    let texts = found.messages.iter().map(|message| {
        let value = to_json_with(message, JsonStyle::default());
        let name = value.get("name").and_then(|it| it.as_str());
        let name = name.unwrap_or_default().to_owned();
        (name, format!("{value:#}\n"))
    });
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    texts.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn dump(clusters: &[(&str, &str)]) -> ConfigDump {
        let clusters: Vec<_> = clusters
            .iter()
            .map(|(name, timeout)| {
                json!({ "cluster": {
                    "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                    "name": name,
                    "connect_timeout": timeout,
                }})
            })
            .collect();
        let dump = json!({ "configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": clusters,
            // What the proxy has of its own is nobody's business.
            "static_clusters": [{ "cluster": { "name": clusters.len().to_string() } }],
        }]});
        ConfigDump::parse(dump.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_order_of_resources_is_no_difference() {
        let one = dump(&[("a", "1s"), ("b", "2s")]);
        let other = dump(&[("b", "2s"), ("a", "1s")]);
        let text = compare(&one, &other);
        assert_eq!(text, "Clusters Match\nListeners Match\nRoutes Match\n");
    }

    #[test]
    fn what_is_missing_and_what_differs_is_shown() {
        let text = compare(&dump(&[("a", "1s"), ("b", "2s")]), &dump(&[("a", "3s")]));
        assert!(
            text.starts_with(
                "Clusters Don't Match\n--- Control plane Clusters\n+++ Proxy Clusters\n"
            ),
            "{text}"
        );
        for line in [
            "-  \"connect_timeout\": \"1s\"\n",
            "+  \"connect_timeout\": \"3s\"\n",
            "-  \"name\": \"b\"",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.ends_with("Listeners Match\nRoutes Match\n"), "{text}");
    }
}
