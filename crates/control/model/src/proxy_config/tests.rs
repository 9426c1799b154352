//! What goes before what among the settings of proxies.
#![allow(clippy::unwrap_used)]

use meltemi_api::parse;

use super::effective;
use crate::{Config, Defaults, MeshConfig, convert};

/// The rules and the one pod of a text.
fn threads_and_environment(text: &str) -> (Option<u32>, Vec<String>) {
    let documents = parse(None, text).unwrap();
    let made = documents
        .iter()
        .map(|it| convert(it, &Defaults::default()).unwrap());
    let (mut rules, mut pod, mut mesh) = (Vec::new(), None, MeshConfig::default());
    for config in made {
        match config {
            Config::ProxyConfig(it) => rules.push(it),
            Config::Pod(it) => pod = Some(it),
            Config::MeshConfig(it) => mesh = *it,
            other => panic!("{other:?}"),
        }
    }
    let made = effective(&mesh, &rules, &pod.unwrap());
    let pairs = made.proxy_metadata.iter();
    (
        made.concurrency,
        pairs.map(|(key, value)| format!("{key}={value}")).collect(),
    )
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: web}}
spec: {containers: [{name: a, image: a}]}
---
";
const ANNOTATED: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: shop
  labels: {app: web}
  annotations: {proxy.istio.io/config: '{concurrency: 4, proxyMetadata: {A: annotation, C: annotation}}'}
spec: {containers: [{name: a, image: a}]}
---
";
const MESH: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'defaultConfig: {concurrency: 1, proxyMetadata: {A: mesh, B: mesh}}'}
---
";

fn rule(namespace: &str, created: u32, spec: &str) -> String {
    let version = "networking.istio.io/v1beta1";
    format!(
        "
apiVersion: {version}
kind: ProxyConfig
metadata: {{name: a{created}, namespace: {namespace}, creationTimestamp: 2024-01-{created:02}T00:00:00Z}}
spec: {spec}
---
"
    )
}

#[test]
fn the_nearer_goes_before_the_farther() {
    let root = rule(
        "istio-system",
        1,
        "{concurrency: 2, environmentVariables: {A: root}}",
    );
    let namespace = rule("shop", 2, "{concurrency: 3}");
    let younger = rule("shop", 3, "{concurrency: 9}");
    let own = rule(
        "shop",
        4,
        "{selector: {matchLabels: {app: web}}, concurrency: 0, environmentVariables: {A: own}}",
    );
    let other = rule(
        "shop",
        5,
        "{selector: {matchLabels: {app: db}}, concurrency: 8}",
    );
    let elsewhere = rule("bank", 6, "{concurrency: 7}");
    let nobody = rule("shop", 7, "{selector: {}, concurrency: 6}");
    let cases: [(&[&str], Option<u32>, &[&str]); 6] = [
        (&[POD], None, &[]),
        (
            &[POD, MESH, &elsewhere, &nobody],
            Some(1),
            &["A=mesh", "B=mesh"],
        ),
        (&[POD, MESH, &root], Some(2), &["A=root", "B=mesh"]),
        (
            &[&younger, POD, MESH, &root, &namespace, &other],
            Some(3),
            &["A=root", "B=mesh"],
        ),
        (
            &[ANNOTATED, MESH, &root, &namespace],
            Some(4),
            &["A=annotation", "B=mesh", "C=annotation"],
        ),
        (
            &[ANNOTATED, MESH, &own, &root],
            Some(0),
            &["A=own", "B=mesh", "C=annotation"],
        ),
    ];
    for (parts, concurrency, environment) in cases {
        let text = parts.concat();
        let (found, pairs) = threads_and_environment(&text);
        assert_eq!(
            (found, &pairs[..]),
            (
                concurrency,
                &environment
                    .iter()
                    .map(|it| (*it).to_owned())
                    .collect::<Vec<_>>()[..]
            ),
            "{text}"
        );
    }
}

#[test]
fn annotations_stand_in_the_place_of_lists_and_add_tags() {
    let mesh = "
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      proxyStatsMatcher: {inclusionPrefixes: [a], inclusionRegexps: ['b.*']}
      extraStatTags: [team]
      runtimeValues: {x: '1'}
";
    let pod = "
apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: shop
  annotations:
    sidecar.istio.io/statsInclusionPrefixes: c, d
    sidecar.istio.io/extraStatTags: team,area
    proxy.istio.io/config: '{proxyStatsMatcher: {inclusionPrefixes: [e], inclusionSuffixes: [f]}}'
spec: {containers: [{name: a, image: a}]}
";
    let made = |text: &str| {
        let documents = parse(None, text).unwrap();
        convert(&documents[0], &Defaults::default()).unwrap()
    };
    let (Config::MeshConfig(mesh), Config::Pod(pod)) = (made(mesh), made(pod)) else {
        panic!("a mesh and a pod");
    };
    let start = effective(&mesh, [], &pod).start;
    assert_eq!(start.stats_prefixes, ["c", "d"]);
    assert_eq!(start.stats_suffixes, ["f"]);
    assert_eq!(start.stats_regexps, [""; 0]);
    assert_eq!(start.extra_stat_tags, ["team", "area"]);
    assert_eq!(start.runtime_values["x"], "1");
}
