//! From changes to views.
//!
//! In: what sources say, and the program's own resources. Out: after each burst of changes a new
//! snapshot, published as [`MeshState`] for people and as a view for the xDS sessions. One task owns
//! everything here; readers hold what it published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use meltemi_lifecycle::{Clock, DrainSignal};
use meltemi_model::{
    Config, FieldPath, KeySource, Kind, MeshConfig, Problem, ProblemKind, ResourceId,
};
use meltemi_snapshot::{Delta, Snapshot, Store};
use meltemi_source::Event;
use meltemi_spiffe::TrustDomain;
use meltemi_xds_server::{Debounce, Resource, View};
use rpds::RedBlackTreeMapSync;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::info;

use crate::Overlay;
use crate::layers::{Change, Layer, Layers};
use crate::localities::Localities;
use crate::metrics::MeshMetrics;
use crate::problem::Problems;
use crate::selection::Selection;
use crate::view::MeshView;

/// The state of the mesh as last published.
#[derive(Clone)]
pub struct MeshState {
    /// The snapshot that proxies are served from.
    pub snapshot: Arc<Snapshot>,
    /// Every resource that counts, as adjusted by the overlay.
    pub configs: RedBlackTreeMapSync<ResourceId, Arc<Config>>,
    /// What is wrong with the resources; those at fault are as they were when they were last valid.
    pub problems: Arc<[Problem]>,
    /// What the last push was for.
    pub delta: Arc<Delta>,
    /// When it was made.
    pub pushed: SystemTime,
    /// Whether everything that was there at the beginning has been read.
    pub ready: bool,
    pub(crate) view: Arc<MeshView>,
}

/// What the task needs from outside.
pub(crate) struct MeshOptions {
    pub overlay: Option<Arc<dyn Overlay>>,
    pub trust_domain: TrustDomain,
    pub headless_by_range: bool,
    pub revision: Option<String>,
    pub debounce: Debounce,
    pub metrics: MeshMetrics,
    pub clock: Clock,
}

/// The label by which a resource says for which control plane it is.
const REVISION: &str = "istio.io/rev";

/// The task's state.
pub(crate) struct Mesh {
    options: MeshOptions,
    layers: Layers,
    selection: Selection,
    localities: Localities,
    store: Store,
    configs: RedBlackTreeMapSync<ResourceId, Arc<Config>>,
    /// What is known of the health of WorkloadEntries, whoever wrote them.
    health: BTreeMap<ResourceId, bool>,
    problems: Problems,
    view: Arc<MeshView>,
    /// What each source has said since its `Init`, until it is `Ready`.
    said: BTreeMap<Layer, BTreeSet<ResourceId>>,
    /// The sources whose first state is not complete.
    awaited: BTreeSet<Layer>,
    states: watch::Sender<Arc<MeshState>>,
    views: Arc<Views>,
}

/// What sources say.
pub(crate) struct Sources {
    pub files: mpsc::Receiver<Event>,
    pub kubernetes: Option<mpsc::Receiver<Event>>,
}

/// Where sessions get the mesh from. They look at it again when it is sent, and end when this is dropped.
pub(crate) type Views = watch::Sender<Arc<dyn View>>;

/// Where the trust bundle is published.
pub(crate) struct Bundles {
    view: Arc<MeshView>,
    views: Arc<Views>,
}

impl Bundles {
    /// Agents are sent this from now on.
    pub fn publish(&self, bundle: Resource) {
        self.view.set_bundle(bundle);
        // It is the same mesh; everybody looks at it again.
        self.views.send_modify(|_| ());
    }
}

impl Mesh {
    /// Nothing yet; `base` are definitions that hold where nothing else is said.
    pub fn new(options: MeshOptions, base: Vec<Config>, program: Vec<Config>) -> Self {
        let snapshot: Arc<Snapshot> = Arc::default();
        let view = Arc::new(MeshView::new(snapshot.clone()));
        let state = MeshState {
            snapshot,
            configs: RedBlackTreeMapSync::default(),
            problems: Arc::default(),
            delta: Arc::default(),
            pushed: options.clock.wall(),
            ready: false,
            view: view.clone(),
        };
        let mut mesh = Self {
            problems: Problems::new(options.metrics.clone()),
            options,
            layers: Layers::default(),
            selection: Selection::default(),
            localities: Localities::default(),
            store: Store::default(),
            configs: RedBlackTreeMapSync::default(),
            health: BTreeMap::new(),
            said: BTreeMap::new(),
            awaited: BTreeSet::new(),
            states: watch::Sender::new(Arc::new(state)),
            views: Arc::new(Views::new(view.clone())),
            view,
        };
        let base = base.into_iter().map(|config| (Layer::Base, config));
        let program = program.into_iter().map(|config| (Layer::Program, config));
        for (layer, config) in base.chain(program) {
            mesh.set(layer, &config.id(), Some(Arc::new(config)));
        }
        mesh
    }

    /// The published states.
    pub fn states(&self) -> watch::Receiver<Arc<MeshState>> {
        self.states.subscribe()
    }

    /// The same for sessions.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }

    /// Where the trust bundle is published.
    pub fn bundles(&self) -> Bundles {
        Bundles {
            view: self.view.clone(),
            views: self.views.clone(),
        }
    }

    /// Takes changes and publishes states until the drain; the first when every source is ready.
    pub async fn run(
        mut self,
        sources: Sources,
        mut program: mpsc::UnboundedReceiver<Change>,
        mut drain: DrainSignal,
    ) {
        let Sources {
            mut files,
            kubernetes,
        } = sources;
        self.awaited.insert(Layer::Files);
        self.awaited
            .extend(kubernetes.as_ref().map(|_| Layer::Kubernetes));
        // A closed channel, of which nothing is received, where there is no cluster.
        let mut kubernetes = kubernetes.unwrap_or_else(|| mpsc::channel(1).1);
        loop {
            let ready = self.states.borrow().ready;
            let due = self.options.debounce.due().filter(|_| ready);
            tokio::select! {
                () = drain.draining() => return,
                Some(event) = files.recv() => self.event(Layer::Files, event),
                Some(event) = kubernetes.recv() => self.event(Layer::Kubernetes, event),
                Some(change) = program.recv() => match change {
                    Change::Apply(config) => {
                        self.set(Layer::Program, &config.id(), Some(Arc::new(*config)));
                    }
                    Change::Delete(id) => self.set(Layer::Program, &id, None),
                    Change::Health(id, health) => self.set_health(id, health),
                    Change::Keys(source, fetched) => self.keys(&source, fetched),
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.push();
                }
            }
        }
    }

    fn event(&mut self, source: Layer, event: Event) {
        match event {
            Event::Init => drop(self.said.insert(source, BTreeSet::new())),
            Event::Apply(config) => {
                let id = config.id();
                if let Some(said) = self.said.get_mut(&source) {
                    said.insert(id.clone());
                }
                self.options.metrics.accepted(id.kind);
                self.set(source, &id, Some(config));
            }
            Event::Delete(id) => self.set(source, &id, None),
            Event::Problems(problems) => {
                self.problems.update(problems);
                self.publish_problems();
            }
            Event::Ready => {
                let said = self.said.remove(&source).unwrap_or_default();
                for id in self.layers.ids(source).difference(&said) {
                    self.set(source, id, None);
                }
                self.awaited.remove(&source);
                if self.awaited.is_empty() {
                    self.push();
                }
            }
        }
    }

    /// A definition has come, changed or gone: the one that counts goes to the store.
    fn set(&mut self, layer: Layer, id: &ResourceId, config: Option<Arc<Config>>) {
        self.options.metrics.updated(id.kind);
        let config = config.filter(|config| self.is_ours(id, config));
        let counts = self.layers.set(layer, id, config);
        let counts = if id.kind == Kind::MeshConfig {
            counts.and_then(|config| self.judge_mesh(id, config))
        } else {
            counts
        };
        let others = self.selection.follow(id, counts.as_ref());
        self.put(id, counts);
        if others {
            self.select_again();
        }
        if id.kind == Kind::Node {
            for id in self.localities.follow(&id.name, self.configs.get(id)) {
                self.put(&id, self.layers.get(&id));
            }
        }
        self.options.debounce.changed(Instant::now());
    }

    /// Whether a resource is for this control plane, and not for one of another revision.
    fn is_ours(&self, id: &ResourceId, config: &Config) -> bool {
        let revision = config.meta().labels.get(REVISION);
        match (&self.options.revision, revision) {
            (Some(own), Some(revision)) => revision == own || !id.kind.has_revisions(),
            (None, _) | (_, None) => true,
        }
    }

    /// The health of a WorkloadEntry is another, or not known any more.
    fn set_health(&mut self, id: ResourceId, health: Option<bool>) {
        match health {
            Some(health) => self.health.insert(id.clone(), health),
            None => self.health.remove(&id),
        };
        if let Some(entry) = self.layers.get(&id) {
            self.put(&id, Some(entry));
            self.options.debounce.changed(Instant::now());
        }
    }

    /// Other namespaces are of the mesh than before.
    fn select_again(&mut self) {
        for (id, config) in self.layers.counting() {
            let is_there = self.configs.contains_key(&id);
            if id.kind != Kind::MeshConfig && self.selection.includes(&id) != is_there {
                self.put(&id, Some(config));
            }
        }
    }

    /// Puts a resource to the store, or takes it away if there is none or it is not of the mesh.
    fn put(&mut self, id: &ResourceId, config: Option<Arc<Config>>) {
        let config = config.filter(|_| self.selection.includes(id));
        match config {
            Some(config) => {
                let mut config = self.localities.place(id, Arc::unwrap_or_clone(config));
                if let Config::WorkloadEntry(entry) = &mut config
                    && let Some(health) = self.health.get(id)
                {
                    entry.healthy = Some(*health);
                }
                let config = match &self.options.overlay {
                    Some(overlay) => overlay.adjust(config),
                    None => config,
                };
                self.configs
                    .insert_mut(id.clone(), Arc::new(config.clone()));
                self.store.apply(config);
            }
            None if id.kind == Kind::MeshConfig => {} // The last one stays.
            None => {
                self.configs.remove_mut(id);
                self.localities.forget(id);
                self.store.delete(id);
                if let Some(overlay) = &self.options.overlay {
                    overlay.removed(id);
                }
            }
        }
    }

    /// The mesh configuration with the authority's trust domain; `None` if it asks for another, which
    /// cannot be had while certificates are signed for this one.
    fn judge_mesh(&mut self, id: &ResourceId, config: Arc<Config>) -> Option<Arc<Config>> {
        let Config::MeshConfig(mesh) = config.as_ref() else {
            return Some(config);
        };
        let ours = &self.options.trust_domain;
        let silent = mesh.trust_domain == MeshConfig::default().trust_domain;
        let problem = (mesh.trust_domain != *ours && !silent).then(|| Problem {
            file: None,
            line: None,
            resource: Some(meltemi_model::ResourceLabel {
                kind: id.kind.to_string(),
                namespace: Some(id.namespace.as_str().to_owned()),
                name: id.name.to_string(),
            }),
            path: Some(FieldPath::root().field("trustDomain")),
            message: format!(
                "{} is not {ours}, for which this control plane signs; restart it with the other one",
                mesh.trust_domain
            ),
            kind: ProblemKind::Invalid,
        });
        let refused = problem.is_some();
        self.problems.set_mesh(problem);
        self.publish_problems();
        if refused {
            return None;
        }
        let mut mesh = mesh.clone();
        mesh.trust_domain = ours.clone();
        mesh.headless_by_range = self.options.headless_by_range;
        Some(Arc::new(Config::MeshConfig(mesh)))
    }

    /// An issuer's keys: those of before hold on where there are no new ones.
    fn keys(&mut self, source: &KeySource, fetched: Result<Arc<str>, String>) {
        match fetched {
            Ok(keys) => {
                self.store.set_keys(source, keys);
                self.problems.set_keys(source, None);
                self.options.debounce.changed(Instant::now());
            }
            Err(reason) => {
                let known = self.states.borrow().snapshot.keys(source).is_some();
                let problem = self.keys_problem(source, &reason, known);
                self.problems.set_keys(source, problem);
            }
        }
        self.publish_problems();
    }

    fn keys_problem(&self, source: &KeySource, reason: &str, known: bool) -> Option<Problem> {
        let snapshot = self.states.borrow().snapshot.clone();
        let (policy, index, rule) = snapshot.request_authentications().iter().find_map(|it| {
            let index = it.rules.iter().position(|rule| rule.keys == *source)?;
            Some((it, index, &it.rules[index]))
        })?;
        let (field, place) = match source {
            KeySource::Inline(_) | KeySource::None => return None,
            KeySource::Uri(uri) => ("jwksUri", uri),
            KeySource::Discovery(document) => ("issuer", document),
        };
        let effect = match known {
            true => "those of before hold on".to_owned(),
            false => format!("until they are, every token of {} is refused", rule.issuer),
        };
        let rules = FieldPath::root().field("spec").field("jwtRules");
        Some(Problem {
            file: None,
            line: None,
            resource: Some(meltemi_model::ResourceLabel {
                kind: Kind::RequestAuthentication.to_string(),
                namespace: Some(policy.meta.namespace.as_str().to_owned()),
                name: policy.meta.name.to_string(),
            }),
            path: Some(rules.index(index).field(field)),
            message: format!("keys cannot be fetched from {place}: {reason}; {effect}"),
            kind: ProblemKind::Invalid,
        })
    }

    fn publish_problems(&self) {
        let problems = self.problems.list();
        self.states.send_modify(|state| {
            Arc::make_mut(state).problems = problems;
        });
    }

    fn push(&mut self) {
        let since = self.options.debounce.take();
        let commit = self.store.commit();
        let first = !self.states.borrow().ready;
        if commit.delta.is_empty() && !first {
            // Nothing that proxies are sent depends on what changed, but people may look at it.
            let configs = self.configs.clone();
            self.states
                .send_modify(|state| Arc::make_mut(state).configs = configs);
            return;
        }
        let waited = since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.options
            .metrics
            .pushed(&commit.snapshot, &commit.delta, waited);
        info!(
            version = commit.snapshot.version(),
            changed = commit.delta.changed.len(),
            endpoints = commit.delta.endpoints.len(),
            remade = commit.remade,
            "push"
        );
        let named: BTreeSet<_> = commit.snapshot.key_sources().collect();
        self.problems.keep_keys(&named);
        // Sessions first: whoever learns of the state may already be served from it.
        self.view.publish(&commit.snapshot, &commit.delta);
        self.states.send_replace(Arc::new(MeshState {
            snapshot: commit.snapshot,
            configs: self.configs.clone(),
            problems: self.problems.list(),
            delta: Arc::new(commit.delta),
            pushed: self.options.clock.wall(),
            ready: true,
            view: self.view.clone(),
        }));
    }
}
