//! Translation in parts, each of which says what it was made of.
//!
//! In: the snapshot, a proxy, and a [`Part`] of what it is sent. Out: [`Made`]: the part's resources
//! and the reads on which they depend. A part that was made from an earlier snapshot holds for as long
//! as [`Translator::is_same`] says so of each of its reads. Called by the control plane's views, which
//! keep parts from push to push; [`crate::translate`] is all parts together.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_model::{Hostname, PatchContext, Workload};
use meltemi_snapshot::Snapshot;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;

use crate::envoy_filter::{Patches, outbound_context};
use crate::resource::EncodedResource;
use crate::scope::{Read, ReadClass, Scope};
use crate::{
    ProxyNode, ProxyRole, cluster, endpoint, gateway, listener, name_table, route, secret,
};

/// The name of a resource of which a proxy has one only.
const THE_ONE: &str = "default";

/// A part of what a proxy is sent: what is made, kept and made again as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The clusters of the services with this host.
    ClustersOf(Hostname),
    /// The clusters to everything that is no service.
    Clusters,
    /// The clusters to the proxy's own workload.
    OwnClusters,
    /// The listeners for what the workload sends; all of a gateway's.
    Listeners,
    /// The listeners for what the workload is sent.
    OwnListeners,
    /// A gRPC library's listener, which has the name that it asks for.
    Listener(Arc<str>),
    /// A route table.
    Routes(Arc<str>),
    /// The endpoints of a cluster.
    Endpoints(Arc<str>),
    /// A gateway credential.
    Secret(Arc<str>),
    /// The configuration of a filter.
    Extension(Arc<str>),
    /// What patches say of the proxy's bootstrap.
    Bootstrap,
    /// Names and their addresses.
    NameTable,
}

/// A part as it was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its resources, in order; the first of a name counts.
    pub resources: Vec<EncodedResource>,
    /// What they depend on.
    pub reads: Vec<Read>,
}

/// Makes the parts of a proxy's resources from one snapshot.
pub struct Translator<'a> {
    scope: Scope<'a>,
}

impl Part {
    /// Whether the part is the same for all proxies of the group that has this node. The others depend on which workload the
    /// proxy is for: what it serves, at which address.
    pub fn is_shared(&self, node: &ProxyNode) -> bool {
        match self {
            Self::ClustersOf(_)
            | Self::Endpoints(_)
            | Self::Extension(_)
            | Self::Bootstrap
            | Self::NameTable => true,
            Self::OwnClusters | Self::OwnListeners | Self::Secret(_) => false,
            Self::Clusters | Self::Routes(_) => node.role == ProxyRole::Sidecar,
            Self::Listener(name) => !listener::is_grpc_server(name),
            // Where nothing is intercepted, listeners have the workload's address.
            Self::Listeners => node.role == ProxyRole::Sidecar && !node.says_none(),
        }
    }
}

impl<'a> Translator<'a> {
    /// For a proxy, or for the node of its group where the parts are shared.
    pub fn new(snapshot: &'a Snapshot, node: &'a ProxyNode) -> Self {
        Self {
            scope: Scope::new(snapshot, node),
        }
    }

    /// The same where the proxy's workload in this snapshot is known already.
    pub fn of_workload(
        snapshot: &'a Snapshot,
        node: &'a ProxyNode,
        workload: Option<&'a Arc<Workload>>,
    ) -> Self {
        Self {
            scope: Scope::of_workload(snapshot, node, workload),
        }
    }

    /// For the same proxy at a later moment.
    pub fn later(&self, snapshot: &'a Snapshot) -> Self {
        Self {
            scope: self.scope.later(snapshot),
        }
    }

    /// The proxy's workload, if there is one.
    pub fn workload(&self) -> Option<&'a Arc<Workload>> {
        self.scope.workload()
    }

    /// Makes a part.
    pub fn make(&self, part: &Part) -> Made {
        let scope = &self.scope;
        let _before = scope.take_reads();
        let patches = || Patches::of(scope);
        let outbound = outbound_context(scope.node.role);
        if scope.node.is_grpc() {
            return Made {
                resources: self.grpc(part),
                reads: scope.take_reads(),
            };
        }
        let resources = match part {
            Part::ClustersOf(host) => {
                let clusters = cluster::of_host(scope, host.as_str());
                encode_clusters(&patches().clusters(scope, clusters, None))
            }
            Part::Clusters => {
                let clusters = cluster::of_no_host(scope);
                encode_clusters(&patches().clusters(scope, clusters, Some(outbound)))
            }
            Part::OwnClusters => match scope.node.role {
                ProxyRole::Sidecar => {
                    let context = Some(PatchContext::SidecarInbound);
                    let clusters = cluster::inbound(scope);
                    encode_clusters(&patches().clusters(scope, clusters, context))
                }
                ProxyRole::Router => Vec::new(),
            },
            Part::Listeners => {
                let listeners = match scope.node.role {
                    ProxyRole::Sidecar => listener::outbound(scope),
                    ProxyRole::Router => alone_for_nobody(gateway::listeners(scope)),
                };
                encode_listeners(&patches().listeners(scope, listeners, outbound))
            }
            Part::OwnListeners => match scope.node.role {
                ProxyRole::Sidecar => {
                    let listeners = alone_for_nobody(listener::inbound(scope));
                    let context = PatchContext::SidecarInbound;
                    encode_listeners(&patches().listeners(scope, listeners, context))
                }
                ProxyRole::Router => Vec::new(),
            },
            Part::Listener(_) => Vec::new(),
            // A name that stands for nothing gets an empty table: a proxy may ask for one while it
            // drains a listener.
            Part::Routes(name) => {
                let mut table = match scope.node.role {
                    ProxyRole::Sidecar => route::build(scope, name),
                    ProxyRole::Router => gateway::routes(scope, name),
                };
                patches().routes(scope, &mut table);
                vec![EncodedResource::new(name, &table)]
            }
            // A name that stands for nothing gets no endpoints: a cluster must not wait for ever.
            Part::Endpoints(name) => {
                let endpoints = endpoint::load_assignment(scope, name);
                vec![EncodedResource::new(name, &endpoints)]
            }
            Part::Extension(name) => (patches().extensions())
                .find(|it| it.name.as_str() == &**name)
                .map(|it| EncodedResource::new(name, &it))
                .into_iter()
                .collect(),
            Part::Secret(name) => secret::build(scope, name)
                .map(|it| EncodedResource::new(name, &it))
                .into_iter()
                .collect(),
            Part::Bootstrap => {
                let bootstrap = patches().bootstrap(scope.node.role);
                vec![EncodedResource::new(THE_ONE, &bootstrap)]
            }
            Part::NameTable => {
                let table = name_table::build(scope);
                vec![EncodedResource::new(THE_ONE, &table)]
            }
        };
        Made {
            resources,
            reads: scope.take_reads(),
        }
    }

    /// A part in the form that gRPC libraries take. Patches are for Envoy and are not applied.
    fn grpc(&self, part: &Part) -> Vec<EncodedResource> {
        let scope = &self.scope;
        match part {
            Part::ClustersOf(host) => encode_clusters(&cluster::grpc(scope, host.as_str())),
            Part::Listener(name) => listener::grpc(scope, name)
                .map(|it| EncodedResource::new(name, &it))
                .into_iter()
                .collect(),
            Part::Routes(name) => route::grpc(scope, name)
                .map(|it| EncodedResource::new(name, &it))
                .into_iter()
                .collect(),
            Part::Endpoints(name) => {
                vec![EncodedResource::new(name, &endpoint::grpc(scope, name))]
            }
            Part::Clusters
            | Part::OwnClusters
            | Part::Listeners
            | Part::OwnListeners
            | Part::Secret(_)
            | Part::Extension(_)
            | Part::Bootstrap
            | Part::NameTable => Vec::new(),
        }
    }

    /// The hosts for which there are [`Part::ClustersOf`], and what that depends on.
    pub fn hosts(&self) -> (Vec<Hostname>, Vec<Read>) {
        let _before = self.scope.take_reads();
        let hosts = self.scope.hosts();
        (hosts, self.scope.take_reads())
    }

    /// How many services and virtual services were gone through to find those that the proxy sees.
    pub fn visited(&self) -> usize {
        self.scope.visited()
    }

    /// Whether reads of a class may differ at all in a later snapshot; those of endpoints do only where
    /// a commit says so.
    pub fn may_differ(&self, later: &Translator<'_>, class: ReadClass) -> bool {
        class.may_differ(&self.scope, &later.scope)
    }

    /// Whether what was read is the same in a later snapshot, as the same proxy sees it.
    pub fn is_same(&self, later: &Translator<'_>, read: &Read) -> bool {
        read.is_same(&self.scope, &later.scope)
    }
}

fn encode_clusters(clusters: &[Cluster]) -> Vec<EncodedResource> {
    let encoded = clusters.iter().map(|it| {
        EncodedResource::new(&it.name, it).needing_endpoints(cluster::needs_endpoints(it))
    });
    encoded.collect()
}

fn encode_listeners(listeners: &[(Listener, Option<IpAddr>)]) -> Vec<EncodedResource> {
    let encoded = listeners
        .iter()
        .map(|(it, alone)| EncodedResource::new(&it.name, it).of_workload(*alone));
    encoded.collect()
}

/// Listeners none of which is for one workload alone.
fn alone_for_nobody(listeners: Vec<Listener>) -> Vec<(Listener, Option<IpAddr>)> {
    listeners.into_iter().map(|it| (it, None)).collect()
}
