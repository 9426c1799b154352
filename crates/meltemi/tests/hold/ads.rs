//! Resources for a running proxy, over one stream in delta form, in the order that cuts nothing.
//!
//! In: the resources that a proxy is to have. Out: what it said of each answer. Called by tests of
//! how a running proxy takes changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use meltemi_testkit::ManagementServer;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::{any, json, type_url};
use prost_types::Any;
use serde_json::Value;

/// Kinds of resources, in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `Cluster`.
    Cluster,
    /// `ClusterLoadAssignment`.
    Endpoints,
    /// `Listener`.
    Listener,
    /// `RouteConfiguration`.
    Routes,
}

/// Everything that the proxy is to have, by kind and name.
pub type Resources = BTreeMap<(Kind, String), Any>;

/// What the proxy said of an answer.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Why it was refused, if it was.
    pub error: Option<String>,
}

/// The server.
pub struct Ads {
    server: ManagementServer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    resources: Resources,
    version: u64,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes];

    fn is_upstream(self) -> bool {
        matches!(self, Self::Cluster | Self::Endpoints)
    }

    /// The type URL.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => type_url::<Cluster>(),
            Self::Endpoints => type_url::<ClusterLoadAssignment>(),
            Self::Listener => type_url::<Listener>(),
            Self::Routes => type_url::<RouteConfiguration>(),
        }
    }

    /// A resource of this kind, with its name.
    pub fn resource(self, value: Value) -> ((Self, String), Any) {
        let field = if self == Self::Endpoints {
            "cluster_name"
        } else {
            "name"
        };
        let name = value[field]
            .as_str()
            .expect("a resource has a name")
            .to_owned();
        let packed = match self {
            Self::Cluster => any::pack(&json::from_json::<Cluster>(value).unwrap()),
            Self::Endpoints => any::pack(&json::from_json::<ClusterLoadAssignment>(value).unwrap()),
            Self::Listener => any::pack(&json::from_json::<Listener>(value).unwrap()),
            Self::Routes => any::pack(&json::from_json::<RouteConfiguration>(value).unwrap()),
        };
        ((self, name), packed)
    }
}

impl Ads {
    /// Serves on a free port of 127.0.0.1.
    pub fn start() -> (Self, SocketAddr) {
        let server = ManagementServer::start();
        let address = server.address();
        let state = Mutex::default();
        (Self { server, state }, address)
    }

    /// Sends clusters and endpoints that are new or changed, then listeners and routes, then takes
    /// back what is gone; each step waits for the verdicts on the one before. Gives the verdicts.
    pub async fn publish(&self, resources: &Resources) -> Vec<Verdict> {
        self.server.take_said();
        let mut stand = self.state().resources.clone();
        for upstream in [true, false] {
            let now = resources
                .iter()
                .filter(|((kind, _), _)| kind.is_upstream() == upstream);
            stand.extend(now.map(|(key, body)| (key.clone(), body.clone())));
            self.set(&stand).await;
        }
        self.set(resources).await;
        let said = self.server.take_said().into_iter();
        said.filter_map(|it| {
            Some(Verdict {
                error: it.verdict?.err(),
            })
        })
        .collect()
    }

    /// Sends what is new or changed and takes back what is gone, without waiting for a verdict: a
    /// proxy may keep that until its clusters are warm.
    pub fn offer(&self, resources: &Resources) {
        self.put(resources);
    }

    /// Waits until the proxy has answered for everything and has the endpoints of each cluster.
    async fn set(&self, resources: &Resources) {
        if !self.put(resources) {
            return;
        }
        let clusters = resources.keys().filter(|(kind, _)| *kind == Kind::Cluster);
        let endpoints = clusters.map(|(_, name)| (Kind::Endpoints, name.clone()));
        let endpoints = endpoints.filter(|key| resources.contains_key(key));
        let endpoints: Vec<_> = endpoints
            .map(|(kind, name)| (kind.type_url(), name))
            .collect();
        let settled = self.server.settled_with(&endpoints).await;
        assert!(settled, "the proxy answers for a change in time");
    }

    /// Has other resources from now on; whether they are others.
    fn put(&self, resources: &Resources) -> bool {
        let mut state = self.state();
        if state.resources == *resources {
            return false;
        }
        state.version += 1;
        for kind in Kind::ALL {
            let of_kind = resources.iter().filter(|((it, _), _)| *it == kind);
            let of_kind = of_kind.map(|((_, name), body)| (name.clone(), body.clone()));
            let version = state.version.to_string();
            self.server
                .set(&kind.type_url(), &version, of_kind.collect());
        }
        state.resources.clone_from(resources);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
