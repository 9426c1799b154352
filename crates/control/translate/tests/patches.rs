//! What EnvoyFilters (FEATURES X1) and Telemetries (O3) change: each file of `patches/` beside
//! `mesh.yaml` is applied to that mesh, and what differs from the mesh without it is compared with the `.golden` file of its
//! name. Set `UPDATE_GOLDEN=1` to write them anew. A stock Envoy, where there is one (`ENVOY_BIN`, or
//! `envoy` on the path), takes everything that comes out.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "support/case.rs"]
mod case;
#[path = "support/difference.rs"]
mod difference;
#[path = "support/envoy.rs"]
mod envoy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use case::{Proxy, configs};
use meltemi_model::{Config, Defaults};
use meltemi_snapshot::Snapshot;
use meltemi_translate::{Resources, bootstrap, group_key, judge, translate};
use meltemi_xds::json::to_json;
use serde_json::Value;

/// The mesh, and the resources of each file.
struct Patches {
    mesh: Vec<Config>,
    proxies: BTreeMap<String, Proxy>,
    files: Vec<(PathBuf, Vec<Config>)>,
}

impl Patches {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/patches");
        let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let mut files: Vec<_> = std::fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
            .filter(|path| !path.ends_with("mesh.yaml") && !path.ends_with("proxies.yaml"))
            .collect();
        files.sort();
        let read = |path: PathBuf| {
            let configs = configs(&std::fs::read_to_string(&path).unwrap());
            for config in &configs {
                assert_eq!(judge().judge(config), [], "{}", path.display());
            }
            (path, configs)
        };
        Self {
            mesh: configs(&text("mesh.yaml")),
            proxies: serde_saphyr::from_str(&text("proxies.yaml")).unwrap(),
            files: files.into_iter().map(read).collect(),
        }
    }

    fn with<'a>(&self, more: impl IntoIterator<Item = &'a Config>) -> std::sync::Arc<Snapshot> {
        let more = more.into_iter().cloned();
        Snapshot::of(self.mesh.iter().cloned().chain(more))
    }
}

fn made(snapshot: &Snapshot, proxy: &Proxy) -> Resources {
    translate(snapshot, &proxy.node())
}

/// What a proxy gets, and what its agent is told of the bootstrap.
fn shown(snapshot: &Snapshot, proxy: &Proxy) -> Value {
    let mut shown = proxy.shown(&made(snapshot, proxy));
    let patches = bootstrap(snapshot, &proxy.node());
    shown["bootstrap"] = to_json(&*patches["default"].any);
    shown
}

#[test]
fn patches_change_what_the_golden_files_say() {
    let patches = Patches::read();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let before = patches.with([]);
    let mut wrong = Vec::new();
    for (path, filters) in &patches.files {
        let after = patches.with(filters);
        let mut text = String::new();
        for (name, proxy) in &patches.proxies {
            let (old, new) = (shown(&before, proxy), shown(&after, proxy));
            let lines = difference::between(&old, &new);
            text.push_str(&format!("# {name}\n"));
            for line in lines {
                text.push_str(&format!("{line}\n"));
            }
        }
        let golden = path.with_extension("golden");
        if update {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", golden.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 writes the files anew",
        wrong.join("\n")
    );
}

#[test]
fn proxies_that_a_patch_tells_apart_share_nothing() {
    let patches = Patches::read();
    let (_, filters) = patches
        .files
        .iter()
        .find(|(path, _)| path.ends_with("proxy.yaml"))
        .unwrap();
    let mut other = patches.proxies["web"].node();
    other.version = Some("1.28.0".to_owned());
    let web = patches.proxies["web"].node();
    let without = patches.with([]);
    assert_eq!(group_key(&without, &web), group_key(&without, &other));
    let with = patches.with(filters);
    assert_ne!(group_key(&with, &web), group_key(&with, &other));
}

#[test]
fn envoy_takes_what_is_patched() {
    let Some(envoy) = envoy::Envoy::find() else {
        return;
    };
    let patches = Patches::read();
    for (path, filters) in &patches.files {
        let snapshot = patches.with(filters);
        for (name, proxy) in &patches.proxies {
            let case = path.file_stem().unwrap().to_str().unwrap();
            envoy.check(
                &format!("{case}-{name}"),
                &proxy.node(),
                &made(&snapshot, proxy),
            );
        }
    }
}

/// Values that are no messages are refused, each with its place.
#[test]
fn values_are_judged_where_they_stand() {
    let yaml = "
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: wrong, namespace: shop }
spec:
  configPatches:
  - applyTo: CLUSTER
    patch: { operation: MERGE, value: { conect_timeout: 1s } }
  - applyTo: CLUSTER
    patch: { operation: ADD, value: { connect_timeout: 1s } }
  - applyTo: HTTP_FILTER
    patch:
      operation: ADD
      value:
        name: a
        typed_config:
          '@type': type.googleapis.com/envoy.config.filter.http.lua.v2.Lua
  - applyTo: HTTP_FILTER
    patch:
      operation: ADD
      value:
        name: b
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          inlineCode: 5
  - applyTo: NETWORK_FILTER
    patch: { operation: INSERT_FIRST, value: { name: c } }
  - applyTo: BOOTSTRAP
    patch: { operation: MERGE, value: { stats_flush: 1s } }
";
    let defaults = Defaults {
        judge: judge(),
        ..Defaults::default()
    };
    let documents = meltemi_api::parse(None, yaml).unwrap();
    let problems = meltemi_model::convert(&documents[0], &defaults).unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|it| {
            let path = it.path.as_ref().unwrap().to_string();
            let path = path.replace("spec.configPatches", "");
            format!("{}: {path}: {}", it.line.unwrap(), it.message)
        })
        .collect();
    let expected = [
        "8: [0].patch.value.conect_timeout: envoy.config.cluster.v3.Cluster has no such field",
        "10: [1].patch.value: a name is needed",
        "16: [2].patch.value.typed_config: unknown @type \
         \"type.googleapis.com/envoy.config.filter.http.lua.v2.Lua\"; \
         write the type of Envoy's v3 API",
        "25: [3].patch.value.typed_config.inlineCode: expected a string, found 5",
        "27: [4].patch.value: a filter needs its typed_config",
        "29: [5].patch.value.stats_flush: envoy.config.bootstrap.v3.Bootstrap has no such field",
    ];
    assert_eq!(found, expected);
}

/// EnvoyFilters that people have written: all of them are taken.
#[test]
fn the_books_envoy_filters_are_valid() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data/book");
    if !book.is_dir() {
        eprintln!(
            "SKIPPED: no {}; tests/patches covers the same ground",
            book.display()
        );
        return;
    }
    let defaults = Defaults {
        judge: judge(),
        ..Defaults::default()
    };
    let (mut found, mut problems) = (0, Vec::new());
    let mut directories = vec![book];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if !text.contains("kind: EnvoyFilter") {
                continue;
            }
            for document in meltemi_api::parse(Some(path.as_path().into()), &text).unwrap() {
                if document.kind == "EnvoyFilter" {
                    found += 1;
                    problems.extend(meltemi_model::convert(&document, &defaults).err());
                }
            }
        }
    }
    let problems: Vec<_> = problems.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(problems, [""; 0]);
    assert!(found >= 8, "only {found}");
}
