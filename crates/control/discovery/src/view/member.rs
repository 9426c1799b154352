//! A proxy that has asked, and what it sees.
//!
//! In: its node, and snapshots. Out: [`Seen`]: the state of its group and that of its own workload at
//! the same moment, put together; and whether a later moment may be another for it.

use std::sync::{Arc, Mutex};

use meltemi_snapshot::Snapshot;
use meltemi_translate::{self as translate, Generator, Part, ProxyNode, group_key};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::{Kind, Mark, ProxyView, Resource, Wanted};
use tokio::sync::watch;

use super::slot::{Slot, State};
use super::{ByName, Kept, lock};

/// A proxy that has asked.
pub(super) struct Member {
    node: Arc<Node>,
    /// What is made for its workload alone; `None` if the node is not one of a proxy.
    own: Option<Slot>,
    /// Where it stands, once it has looked.
    standing: Mutex<Option<Standing>>,
    /// Tells the proxy's sessions to look again; the version of the mesh that is the reason.
    changes: watch::Sender<u64>,
}

/// Where a proxy stands.
struct Standing {
    group: Arc<Slot>,
    /// The group's state.
    shared: Arc<State>,
    /// The proxy's own state, by which the group was found.
    own: Arc<State>,
    /// Which moment this is.
    mark: Mark,
    /// Up to which moment the sessions were told of everything. One of them may have looked since, and the
    /// others have not.
    told: Mark,
}

/// The mesh as one proxy sees it.
pub(super) struct Seen {
    kept: Arc<Kept>,
    member: Arc<Member>,
    group: Arc<Slot>,
    shared: Arc<State>,
    own: Arc<State>,
    mark: Mark,
}

impl Member {
    /// A proxy.
    pub fn new(node: Arc<Node>, number: u64) -> Self {
        let proxy = ProxyNode::parse(&node).ok();
        Self {
            node,
            own: proxy.map(|it| Slot::new(number, it)),
            standing: Mutex::default(),
            changes: watch::Sender::default(),
        }
    }

    /// Whether this is the member for a node.
    pub fn is(&self, node: &Arc<Node>) -> bool {
        Arc::ptr_eq(&self.node, node) || self.node == *node
    }

    /// Changes whenever what the proxy sees may be something else.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What it sees now; `None` if it is no proxy.
    pub fn look(self: &Arc<Self>, kept: &Arc<Kept>) -> Option<Seen> {
        let slot = self.own.as_ref()?;
        // Held from before it is asked which moment it is: see `follow`.
        let mut standing = lock(&self.standing);
        let now = Standing::at(&kept.snapshot(), slot, standing.take(), kept);
        let seen = Seen {
            shared: now.shared.clone(),
            own: now.own.clone(),
            mark: now.mark,
            group: now.group.clone(),
            kept: kept.clone(),
            member: self.clone(),
        };
        *standing = Some(now);
        Some(seen)
    }

    /// A later moment has come. Whether the proxy sees something else in it, of which its sessions are
    /// told. One that has not looked yet will see this moment, or a later one.
    pub fn follow(&self, snapshot: &Arc<Snapshot>, kept: &Kept) -> bool {
        let Some(slot) = &self.own else { return false };
        let mut standing = lock(&self.standing);
        let Some(before) = standing.take() else {
            return false;
        };
        let mut now = Standing::at(snapshot, slot, Some(before), kept);
        let is_told = now.differs_from(now.told);
        now.told = now.mark;
        *standing = Some(now);
        if is_told {
            self.changes.send_replace(snapshot.version());
        }
        is_told
    }
}

impl Standing {
    /// Where a proxy stands in a snapshot, or in a later one where that was asked for already.
    fn at(snapshot: &Arc<Snapshot>, slot: &Slot, before: Option<Self>, kept: &Kept) -> Self {
        let own = slot.state(snapshot, kept);
        let told = before.as_ref().map(|it| it.told);
        let same = before.filter(|it| {
            let old = (it.own.snapshot().as_ref(), it.own.workload());
            let new = (own.snapshot().as_ref(), own.workload());
            translate::have_same_group(old, new, &slot.node)
        });
        let group = match same {
            Some(before) => before.group,
            None => kept.group(&group_key(own.snapshot(), &slot.node)),
        };
        let shared = group.state(snapshot, kept);
        let mark = Mark {
            shared: (group.number, shared.version()),
            own: (slot.number, own.version()),
        };
        Self {
            group,
            shared,
            own,
            mark,
            told: told.unwrap_or(mark),
        }
    }

    /// Whether something is not as it was at an earlier moment.
    fn differs_from(&self, earlier: Mark) -> bool {
        self.mark.shared.0 != earlier.shared.0
            || self.shared.has_changed_since(earlier.shared.1)
            || self.own.has_changed_since(earlier.own.1)
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
            .partition(|part| part.is_shared(&self.group.node));
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
            Kind::Extension => Part::Extension,
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
            Kind::Extension => translate::extension_names(snapshot, proxy)
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
            (Kind::Route | Kind::Secret | Kind::Extension | Kind::Endpoint, _) => {
                return self.named(wanted, kind);
            }
            (Kind::Listener, _) if self.proxy().generator == Generator::Grpc => {
                return self.named(wanted, kind);
            }
            (Kind::Listener, _) => self.collect(&[Part::Listeners, Part::OwnListeners]),
            (Kind::Bootstrap, _) => self.collect(&[Part::Bootstrap]),
            (Kind::NameTable, _) => self.collect(&[Part::NameTable]),
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
        if (mark.shared.0, mark.own.0) != (self.mark.shared.0, self.mark.own.0) {
            return None;
        }
        let mut names = self.shared.changed_since(kind, mark.shared.1)?;
        names.extend(self.own.changed_since(kind, mark.own.1)?);
        Some(names.into_iter().collect())
    }

    fn mark(&self) -> Option<Mark> {
        (!self.is_outdated()).then_some(self.mark)
    }

    fn is_outdated(&self) -> bool {
        !self.shared.is_comparable() || !self.own.is_comparable()
    }
}
