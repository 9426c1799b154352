//! Proxies that see the same, and what was made for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};

use meltemi_snapshot::Snapshot;
use meltemi_translate::{self as translate, ProxyNode, ResourceMap};
use meltemi_xds_server::{Kind, Resource, Wanted};

use super::{Bodies, lock};

/// Resources of a kind that is made as a whole.
type Whole = OnceLock<BTreeMap<String, Resource>>;

/// Resources of a kind that is made by name; `None` for a name that stands for nothing.
type Named = Mutex<BTreeMap<String, Option<Resource>>>;

/// A group of proxies that see the same.
pub(super) struct Group {
    /// Any one of them.
    proxy: ProxyNode,
    clusters: Whole,
    listeners: Whole,
    routes: Named,
    endpoints: Named,
    secrets: Named,
}

impl Group {
    /// The group of this proxy.
    pub fn new(proxy: ProxyNode) -> Self {
        Self {
            proxy,
            clusters: OnceLock::new(),
            listeners: OnceLock::new(),
            routes: Mutex::default(),
            endpoints: Mutex::default(),
            secrets: Mutex::default(),
        }
    }

    /// The resources of a kind, by name; made when they are first asked for.
    pub fn resources(
        &self,
        snapshot: &Snapshot,
        bodies: &Bodies,
        kind: Kind,
        wanted: &Wanted<'_>,
    ) -> Vec<Resource> {
        let proxy = &self.proxy;
        match kind {
            Kind::Cluster => pick(self.clusters(snapshot, bodies), wanted),
            Kind::Listener => {
                let make = || share(bodies, translate::listeners(snapshot, proxy));
                pick(self.listeners.get_or_init(make), wanted)
            }
            Kind::Route => {
                let all = || translate::route_names(snapshot, proxy);
                named(bodies, &self.routes, wanted, all, |names| {
                    translate::routes(snapshot, proxy, names.iter().copied())
                })
            }
            Kind::Endpoint => {
                let all = || {
                    let clusters = self.clusters(snapshot, bodies).values();
                    let needing = clusters.filter(|it| it.needs_endpoints);
                    needing.map(|it| it.name.clone()).collect()
                };
                named(bodies, &self.endpoints, wanted, all, |names| {
                    translate::endpoints(snapshot, proxy, names.iter().copied())
                })
            }
            Kind::Secret => {
                let all = || translate::secret_names(snapshot, proxy);
                named(bodies, &self.secrets, wanted, all, |names| {
                    translate::secrets(snapshot, proxy, names.iter().copied())
                })
            }
        }
    }

    fn clusters(&self, snapshot: &Snapshot, bodies: &Bodies) -> &BTreeMap<String, Resource> {
        self.clusters
            .get_or_init(|| share(bodies, translate::clusters(snapshot, &self.proxy)))
    }
}

fn share(bodies: &Bodies, made: ResourceMap) -> BTreeMap<String, Resource> {
    made.into_values()
        .map(|encoded| bodies.share(encoded))
        .map(|resource| (resource.name.clone(), resource))
        .collect()
}

fn pick(all: &BTreeMap<String, Resource>, wanted: &Wanted<'_>) -> Vec<Resource> {
    match wanted {
        Wanted::All => all.values().cloned().collect(),
        Wanted::Names(names) => names.iter().filter_map(|it| all.get(it)).cloned().collect(),
    }
}

fn named(
    bodies: &Bodies,
    cache: &Named,
    wanted: &Wanted<'_>,
    all: impl FnOnce() -> BTreeSet<String>,
    make: impl FnOnce(&[&str]) -> ResourceMap,
) -> Vec<Resource> {
    let every;
    let names = match wanted {
        Wanted::Names(names) => *names,
        Wanted::All => {
            every = all();
            &every
        }
    };
    let mut cache = lock(cache);
    let missing: Vec<&str> = names
        .iter()
        .filter(|name| !cache.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let mut made = share(bodies, make(&missing));
        for name in missing {
            cache.insert(name.to_owned(), made.remove(name));
        }
    }
    names
        .iter()
        .filter_map(|name| cache.get(name)?.clone())
        .collect()
}
