//! A proxy that has asked, and what it sees.
//!
//! In: its node, and snapshots. Out: [`Seen`]: the state of its group and that of its own workload at
//! the same moment, put together.

use std::sync::{Arc, Mutex};

use meltemi_snapshot::Snapshot;
use meltemi_translate::{self as translate, Generator, GroupKey, Part, ProxyNode, group_key};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Kind, Mark, ProxyView, Resource, Wanted};

use super::slot::{Slot, State};
use super::{ByName, Kept, lock};

/// A proxy that has asked.
pub(super) struct Member {
    node: Arc<Node>,
    /// What is made for its workload alone; `None` if the node is not one of a proxy.
    own: Option<Slot>,
    /// Its group, and of which moment that is known.
    group: Mutex<Option<(Arc<Snapshot>, Arc<Slot>)>>,
}

/// The mesh as one proxy sees it.
pub(super) struct Seen {
    kept: Arc<Kept>,
    member: Arc<Member>,
    group: Arc<Slot>,
    shared: Arc<State>,
    own: Arc<State>,
}

impl Member {
    /// A proxy.
    pub fn new(node: Arc<Node>, number: u64) -> Self {
        let proxy = ProxyNode::parse(&node).ok();
        Self {
            node,
            own: proxy.map(|it| Slot::new(number, it)),
            group: Mutex::default(),
        }
    }

    /// Whether this is the member for a node.
    pub fn is(&self, node: &Arc<Node>) -> bool {
        Arc::ptr_eq(&self.node, node) || self.node == *node
    }

    /// What it sees of a snapshot; `None` if it is no proxy.
    pub fn see(
        self: Arc<Self>,
        snapshot: &Arc<Snapshot>,
        kept: &Arc<Kept>,
        group: impl FnOnce(&GroupKey) -> Arc<Slot>,
    ) -> Option<Seen> {
        let own = self.own.as_ref()?;
        let group = self.group(own, snapshot, group);
        Some(Seen {
            shared: group.state(snapshot, kept),
            own: own.state(snapshot, kept),
            group,
            kept: kept.clone(),
            member: self.clone(),
        })
    }

    fn group(
        &self,
        own: &Slot,
        snapshot: &Arc<Snapshot>,
        group: impl FnOnce(&GroupKey) -> Arc<Slot>,
    ) -> Arc<Slot> {
        let mut current = lock(&self.group);
        if let Some((known, slot)) = current.as_mut() {
            let newer = known.version() >= snapshot.version();
            if newer || translate::have_same_group(known, snapshot, &own.node) {
                if !newer {
                    *known = snapshot.clone();
                }
                return slot.clone();
            }
        }
        let slot = group(&group_key(snapshot, &own.node));
        *current = Some((snapshot.clone(), slot.clone()));
        slot
    }
}

impl Seen {
    fn proxy(&self) -> &ProxyNode {
        &self.own().node
    }

    fn own(&self) -> &Slot {
        self.member
            .own
            .as_ref()
            .expect("what is seen is seen by a proxy")
    }

    /// The resources of parts, the first of a name.
    fn collect(&self, parts: &[Part]) -> ByName {
        let proxy = self.proxy();
        let (shared, own): (Vec<_>, Vec<_>) = parts
            .iter()
            .cloned()
            .partition(|part| part.is_shared(proxy));
        let shared = self.shared.parts(&self.group.node, &shared, &self.kept);
        let own = self.own.parts(proxy, &own, &self.kept);
        let mut all = ByName::new();
        for part in shared.iter().chain(&own) {
            for resource in part.resources(&proxy.ips) {
                all.entry(resource.name.clone())
                    .or_insert_with(|| resource.clone());
            }
        }
        all
    }

    /// All clusters: those of the services, and the others.
    fn clusters(&self) -> ByName {
        let hosts = self.shared.hosts(&self.group.node).into_iter();
        let parts: Vec<_> = hosts
            .map(Part::ClustersOf)
            .chain([Part::Clusters, Part::OwnClusters])
            .collect();
        self.collect(&parts)
    }

    /// The clusters of these names, without looking at the others.
    fn some_clusters(&self, names: &[&str]) -> ByName {
        // `outbound|PORT|SUBSET|HOST`
        let hosts = names.iter().filter_map(|it| {
            let host = it.strip_prefix("outbound|")?.rsplit('|').next()?;
            Some(Part::ClustersOf(meltemi_model::Hostname::new(host)))
        });
        let mut parts: Vec<_> = hosts.chain([Part::Clusters, Part::OwnClusters]).collect();
        parts.dedup();
        self.collect(&parts)
    }

    fn named(&self, wanted: &Wanted<'_>, kind: Kind) -> Vec<Resource> {
        let part: fn(Arc<str>) -> Part = match kind {
            Kind::Listener => Part::Listener,
            Kind::Route => Part::Routes,
            Kind::Secret => Part::Secret,
            _ => Part::Endpoints,
        };
        let parts: Vec<_> = match wanted {
            Wanted::Names(names) => names.iter().map(|it| part((*it).into())).collect(),
            Wanted::All => self.all(kind).into_iter().map(part).collect(),
        };
        self.collect(&parts).into_values().collect()
    }

    /// The names of everything of a kind, where a proxy has to ask by name.
    fn all(&self, kind: Kind) -> Vec<Arc<str>> {
        let (snapshot, proxy) = (self.own.snapshot(), self.proxy());
        match kind {
            Kind::Listener => translate::listener_names(snapshot, proxy)
                .into_iter()
                .map(Arc::from)
                .collect(),
            Kind::Route => translate::route_names(snapshot, proxy)
                .into_iter()
                .map(Arc::from)
                .collect(),
            Kind::Secret => translate::secret_names(snapshot, proxy)
                .into_iter()
                .map(Arc::from)
                .collect(),
            _ => {
                let clusters = self.clusters().into_values();
                let needing = clusters.filter(|it| it.needs_endpoints);
                needing.map(|it| it.name).collect()
            }
        }
    }
}

impl ProxyView for Seen {
    fn version(&self) -> u64 {
        self.own.version().max(self.shared.version())
    }

    fn resources(&self, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource> {
        let all = match (kind, wanted) {
            (Kind::ProxyConfig, _) => {
                let bundle = self.kept.bundle.load_full();
                return bundle.as_deref().cloned().into_iter().collect();
            }
            (Kind::Route | Kind::Secret | Kind::Endpoint, _) => return self.named(wanted, kind),
            (Kind::Listener, _) if self.proxy().generator == Generator::Grpc => {
                return self.named(wanted, kind);
            }
            (Kind::Listener, _) => self.collect(&[Part::Listeners, Part::OwnListeners]),
            (Kind::Cluster, Wanted::All) => self.clusters(),
            (Kind::Cluster, Wanted::Names(names)) => self.some_clusters(names),
        };
        match wanted {
            Wanted::All => all.into_values().collect(),
            Wanted::Names(names) => {
                let found = names.iter().filter_map(|it| all.get(*it));
                found.cloned().collect()
            }
        }
    }

    fn changed_since(&self, kind: Kind, mark: Mark) -> Option<Vec<Arc<str>>> {
        // What agents take does not depend on the mesh's resources, and is one resource.
        if kind == Kind::ProxyConfig {
            return None;
        }
        if mark.shared.0 != self.group.number || mark.own.0 != self.own().number {
            return None;
        }
        let mut names = self.shared.changed_since(kind, mark.shared.1)?;
        names.extend(self.own.changed_since(kind, mark.own.1)?);
        Some(names.into_iter().collect())
    }

    fn mark(&self) -> Option<Mark> {
        (self.shared.is_comparable() && self.own.is_comparable()).then(|| Mark {
            shared: (self.group.number, self.shared.version()),
            own: (self.own().number, self.own.version()),
        })
    }
}
