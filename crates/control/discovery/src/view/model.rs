//! A proxy as far as xDS knows one: what it asks for follows from what it has.
//!
//! In: messages of a session. Out: requests, and in the end what the proxy has.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use meltemi_snapshot::Snapshot;
use meltemi_translate::{ProxyNode, ResourceMap, bootstrap, name_table, translate};
use meltemi_xds::pb::envoy::config::cluster::v3::{Cluster, cluster};
use meltemi_xds::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, Listener, filter};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::google::rpc::Status;
use meltemi_xds_server::{Form, Incoming, Kind, Outgoing, ProxyView, Session, View as _, Viewer};
use prost::Message;
use prost_types::Any;
use tokio::sync::watch;

use super::MeshView;
use super::references::Known;

/// What names of gateway credentials begin with.
const CREDENTIAL: &[u8] = b"kubernetes://";

/// Name to version and bytes.
type Resources = BTreeMap<String, (String, Vec<u8>)>;

/// A simulated proxy with its session.
pub(super) struct Model {
    pub node: Arc<Node>,
    pub form: Form,
    pub session: Session,
    pub requests: VecDeque<Incoming>,
    pub responses: VecDeque<Outgoing>,
    have: BTreeMap<Kind, Resources>,
    asked: BTreeMap<Kind, BTreeSet<String>>,
    nonces: BTreeMap<Kind, String>,
    viewer: Arc<dyn Viewer>,
    changes: watch::Receiver<u64>,
    /// What the session has looked at and not answered from yet.
    looked: Option<Arc<dyn ProxyView>>,
    /// It has refused something and not connected again since.
    pub refused: bool,
    references: RefCell<Known>,
}

impl Model {
    /// A proxy that connects.
    pub fn new(node: Node, form: Form, view: &Arc<MeshView>) -> Self {
        let node = Arc::new(node);
        let viewer = view.clone().viewer(&node);
        let mut model = Self {
            node,
            changes: viewer.changes(),
            viewer,
            looked: None,
            form,
            session: Session::new(form),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            have: BTreeMap::new(),
            asked: BTreeMap::new(),
            nonces: BTreeMap::new(),
            refused: false,
            references: RefCell::default(),
        };
        model.connect(view);
        model
    }

    /// The stream is a new one; the proxy has what it had.
    pub fn connect(&mut self, view: &Arc<MeshView>) {
        self.viewer = view.clone().viewer(&self.node);
        self.changes = self.viewer.changes();
        self.looked = None;
        self.session = Session::new(self.form);
        self.requests.clear();
        self.responses.clear();
        self.nonces.clear();
        self.refused = false;
        // Its agent asks for the last two, on a stream of its own.
        let whole = [
            Kind::Cluster,
            Kind::Listener,
            Kind::NameTable,
            Kind::Bootstrap,
        ];
        for kind in whole {
            self.request(kind, &[], &[], true);
        }
        for (kind, names) in self.asked.clone() {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            if !names.is_empty() {
                self.request(kind, &names, &[], true);
            }
        }
    }

    /// The proxy is a new one, which has nothing.
    pub fn restart(&mut self, view: &Arc<MeshView>) {
        self.have.clear();
        self.asked.clear();
        self.connect(view);
    }

    /// All messages are delivered until nobody has anything to say.
    pub fn settle(&mut self) {
        self.settle_counting();
    }

    /// The same; how many messages the proxy took.
    pub fn settle_counting(&mut self) -> usize {
        let mut taken = 0;
        for turn in 0.. {
            assert!(turn < 200, "{} never settles", self.node.id);
            let mut busy = self.push();
            while self.take(false) {
                taken += 1;
                busy = true;
            }
            while self.serve() {
                busy = true;
            }
            if !busy {
                break;
            }
        }
        assert!(self.session.is_confirmed());
        taken
    }

    /// The server takes the next request, if there is one.
    pub fn serve(&mut self) -> bool {
        let Some(request) = self.requests.pop_front() else {
            return false;
        };
        self.session.receive(request);
        true
    }

    /// The server hears of changes and looks at what there is.
    pub fn look(&mut self) {
        if self.changes.has_changed().unwrap() {
            self.changes.mark_unchanged();
            self.session.changed();
        }
        self.looked = Some(self.viewer.look());
    }

    /// The server sends what it can, of what it has looked at; whether there is more to do.
    pub fn push(&mut self) -> bool {
        if self.looked.is_none() {
            self.look();
        }
        let seen = self.looked.take().unwrap();
        let messages = self.session.next(seen.as_ref());
        let outdated = seen.is_outdated();
        if outdated {
            self.session.changed();
        }
        let sent = !messages.is_empty();
        self.responses.extend(messages);
        sent || outdated || self.changes.has_changed().unwrap()
    }

    /// The proxy takes the next message, if there is one, or refuses it.
    pub fn take(&mut self, refuse: bool) -> bool {
        let Some(message) = self.responses.pop_front() else {
            return false;
        };
        let kind = message.kind;
        self.nonces.insert(kind, message.nonce.clone());
        if refuse {
            self.refused = true;
            self.answer(kind, Some("no"));
            return true;
        }
        let have = self.have.entry(kind).or_default();
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        match message.form {
            Form::Delta => {
                let it = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
                for resource in it.resources {
                    let body = resource.resource.unwrap();
                    have.insert(resource.name, (resource.version, body.value));
                }
                for name in it.removed_resources {
                    have.remove(&name);
                }
            }
            Form::Sotw => {
                let it = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
                if matches!(kind, Kind::Cluster | Kind::Listener) {
                    have.clear();
                }
                for body in it.resources {
                    have.insert(name(kind, &body), (String::new(), body.value));
                }
            }
        }
        if let Some(asked) = self.asked.get(&kind) {
            // What it does not want any more, it does not take.
            have.retain(|name, _| asked.contains(name));
        }
        self.answer(kind, None);
        self.follow(kind);
        true
    }

    fn answer(&mut self, kind: Kind, error: Option<&str>) {
        let error_detail = error.map(|it| Status {
            message: it.to_owned(),
            ..Status::default()
        });
        let response_nonce = self.nonces[&kind].clone();
        self.requests.push_back(match self.form {
            Form::Delta => Incoming::Delta(DeltaDiscoveryRequest {
                type_url: kind.type_url(),
                response_nonce,
                error_detail,
                ..Default::default()
            }),
            Form::Sotw => Incoming::Sotw(DiscoveryRequest {
                type_url: kind.type_url(),
                resource_names: self.names(kind),
                response_nonce,
                error_detail,
                ..Default::default()
            }),
        });
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        self.asked
            .get(&kind)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    fn request(&mut self, kind: Kind, more: &[&str], fewer: &[&str], first: bool) {
        let strings = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let node = first.then(|| Node::clone(&self.node));
        let had = self.have.get(&kind).filter(|_| first).into_iter().flatten();
        self.requests.push_back(match self.form {
            Form::Delta => Incoming::Delta(DeltaDiscoveryRequest {
                node,
                type_url: kind.type_url(),
                resource_names_subscribe: strings(more),
                resource_names_unsubscribe: strings(fewer),
                initial_resource_versions: had
                    .map(|(name, (version, _))| (name.clone(), version.clone()))
                    .collect(),
                ..Default::default()
            }),
            Form::Sotw => Incoming::Sotw(DiscoveryRequest {
                node,
                type_url: kind.type_url(),
                resource_names: self.names(kind),
                response_nonce: self.nonces.get(&kind).cloned().unwrap_or_default(),
                ..Default::default()
            }),
        });
    }

    /// Asks for what clusters and listeners name.
    fn follow(&mut self, kind: Kind) {
        match kind {
            Kind::Cluster => {
                self.want(Kind::Endpoint, self.endpoints_wanted());
                self.want(Kind::Secret, self.secrets_wanted());
            }
            Kind::Listener => {
                self.want(Kind::Secret, self.secrets_wanted());
                self.want(Kind::Route, self.routes_wanted());
            }
            _ => {}
        }
    }

    /// From now on these are wanted.
    fn want(&mut self, kind: Kind, wanted: BTreeSet<String>) {
        let had = self.asked.insert(kind, wanted.clone()).unwrap_or_default();
        let more: Vec<&str> = wanted.difference(&had).map(String::as_str).collect();
        let fewer: Vec<&str> = had.difference(&wanted).map(String::as_str).collect();
        if let Some(have) = self.have.get_mut(&kind) {
            have.retain(|name, _| wanted.contains(name));
        }
        if more.is_empty() && fewer.is_empty() {
            return;
        }
        let first = had.is_empty() && !self.nonces.contains_key(&kind);
        self.request(kind, &more, &fewer, first);
    }

    fn endpoints_wanted(&self) -> BTreeSet<String> {
        let eds = cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into());
        let clusters = self.have.get(&Kind::Cluster).into_iter().flatten();
        clusters
            .map(|(_, (_, body))| Cluster::decode(body.as_slice()).unwrap())
            .filter(|it| it.cluster_discovery_type == Some(eds.clone()))
            .map(|it| it.eds_cluster_config.unwrap().service_name)
            .collect()
    }

    fn routes_wanted(&self) -> BTreeSet<String> {
        let listeners = self.have.get(&Kind::Listener).into_iter().flatten();
        let listeners = listeners.map(|(_, (_, body))| Listener::decode(body.as_slice()).unwrap());
        listeners
            .flat_map(|it| it.filter_chains.into_iter().chain(it.default_filter_chain))
            .flat_map(|it| it.filters)
            .filter_map(|it| table(&it))
            .collect()
    }

    /// The credentials that clusters and listeners name; few do.
    fn secrets_wanted(&self) -> BTreeSet<String> {
        let mut known = self.references.borrow_mut();
        let mut wanted = BTreeSet::new();
        for (body, is_cluster) in self.bodies([Kind::Cluster, Kind::Listener]) {
            if !body.windows(CREDENTIAL.len()).any(|it| it == CREDENTIAL) {
                continue;
            }
            let found = match is_cluster {
                true => known.of::<Cluster>(body),
                false => known.of::<Listener>(body),
            };
            wanted.extend(found.secrets.iter().cloned());
        }
        wanted
    }

    /// The resources of two kinds, and whether each is of the first.
    fn bodies(&self, kinds: [Kind; 2]) -> impl Iterator<Item = (&[u8], bool)> {
        kinds.into_iter().enumerate().flat_map(|(place, kind)| {
            let all = self.have.get(&kind).into_iter().flatten();
            all.map(move |(_, (_, body))| (body.as_slice(), place == 0))
        })
    }

    /// Whether everything is there without which Envoy would refuse what the proxy has.
    fn check_references(&self) {
        let mut known = self.references.borrow_mut();
        let has = |kind, name: &str| self.have.get(&kind).is_some_and(|it| it.contains_key(name));
        for (body, is_table) in self.bodies([Kind::Route, Kind::Listener]) {
            let found = match is_table {
                true => known.of::<RouteConfiguration>(body),
                false => known.of::<Listener>(body),
            };
            for name in &found.clusters {
                assert!(
                    has(Kind::Cluster, name),
                    "no cluster {name}: {}",
                    self.node.id
                );
            }
        }
        for name in self.routes_wanted() {
            assert!(has(Kind::Route, &name), "no table {name}: {}", self.node.id);
        }
        for name in self.endpoints_wanted() {
            assert!(
                has(Kind::Endpoint, &name),
                "no endpoints {name}: {}",
                self.node.id
            );
        }
    }

    /// Whether the proxy has exactly what is made for it from the snapshot alone.
    pub fn check(&self, snapshot: &Snapshot) {
        let node = ProxyNode::parse(&self.node).unwrap();
        let wanted = translate(snapshot, &node);
        let check = |kind: Kind, wanted: &ResourceMap| {
            let none = Resources::new();
            let have = self.have.get(&kind).unwrap_or(&none);
            let names = |all: &mut dyn Iterator<Item = &str>| {
                all.map(str::to_owned).collect::<BTreeSet<_>>()
            };
            let label = format!("{kind} of {} ({:?})", self.node.id, self.form);
            assert_eq!(
                names(&mut have.keys().map(String::as_str)),
                names(&mut wanted.keys().map(AsRef::as_ref)),
                "{label}"
            );
            for (name, resource) in wanted {
                assert!(
                    have[name.as_ref()].1 == resource.any.value,
                    "{name}: {label}"
                );
            }
        };
        check(Kind::Cluster, &wanted.clusters);
        check(Kind::Endpoint, &wanted.endpoints);
        check(Kind::Listener, &wanted.listeners);
        check(Kind::Route, &wanted.routes);
        check(Kind::NameTable, &name_table(snapshot, &node));
        check(Kind::Bootstrap, &bootstrap(snapshot, &node));
        self.check_secrets(&wanted.secrets);
        self.check_references();
    }

    /// Credentials are asked for by those who need them, and need not exist.
    fn check_secrets(&self, wanted: &ResourceMap) {
        let none = Resources::new();
        let have = self.have.get(&Kind::Secret).unwrap_or(&none);
        let label = format!("secrets of {} ({:?})", self.node.id, self.form);
        for name in self.asked.get(&Kind::Secret).into_iter().flatten() {
            match (have.get(name), wanted.get(name.as_str())) {
                (Some((_, have)), Some(wanted)) => {
                    assert!(*have == wanted.any.value, "{name}: {label}");
                }
                (None, None) => {}
                // The state of the world cannot say that one is gone.
                (Some(_), None) if self.form == Form::Sotw => {}
                (have, _) => panic!("{name} is there: {}; {label}", have.is_some()),
            }
        }
    }
}

fn table(filter: &Filter) -> Option<String> {
    let Some(filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return None;
    };
    if !any.type_url.ends_with("HttpConnectionManager") {
        return None;
    }
    let manager = HttpConnectionManager::decode(any.value.as_slice()).unwrap();
    match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    }
}

fn name(kind: Kind, body: &Any) -> String {
    let bytes = body.value.as_slice();
    match kind {
        Kind::Cluster => Cluster::decode(bytes).unwrap().name,
        Kind::Endpoint => ClusterLoadAssignment::decode(bytes).unwrap().cluster_name,
        Kind::Secret => Secret::decode(bytes).unwrap().name,
        Kind::Extension => TypedExtensionConfig::decode(bytes).unwrap().name,
        Kind::Listener => Listener::decode(bytes).unwrap().name,
        Kind::Route => RouteConfiguration::decode(bytes).unwrap().name,
        Kind::ProxyConfig | Kind::NameTable | Kind::Bootstrap => "default".to_owned(),
    }
}
