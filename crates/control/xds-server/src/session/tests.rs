//! Message scripts against the session, in both forms.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use meltemi_xds::pb::google::rpc::Status;
use prost::Message as _;
use prost_types::Any;

use super::*;
use crate::{Mark, Wanted};

/// A mesh of named resources with versions; clusters need endpoints of the same name.
#[derive(Default)]
struct Mesh {
    version: u64,
    resources: BTreeMap<Kind, BTreeMap<String, String>>,
}

impl Mesh {
    fn with(mut self, kind: Kind, resources: &[(&str, &str)]) -> Self {
        self.version += 1;
        let resources = resources
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
        self.resources.insert(kind, resources.collect());
        self
    }
}

impl ProxyView for Mesh {
    fn version(&self) -> u64 {
        self.version
    }

    fn changed_since(&self, _kind: Kind, _mark: Mark) -> Option<Vec<Arc<str>>> {
        None
    }

    fn mark(&self) -> Option<Mark> {
        None
    }

    fn is_outdated(&self) -> bool {
        false
    }

    fn resources(&self, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource> {
        let all = self.resources.get(&kind).into_iter().flatten();
        all.filter(|(name, _)| match wanted {
            Wanted::All => true,
            Wanted::Names(names) => names.contains(&name.as_str()),
        })
        .map(|(name, version)| Resource {
            name: name.as_str().into(),
            version: Version::parse(version),
            body: Arc::new(Any {
                type_url: kind.type_url(),
                value: name.clone().into_bytes(),
            }),
            needs_endpoints: kind == Kind::Cluster,
        })
        .collect()
    }
}

fn node() -> Option<Node> {
    Some(Node {
        id: "sidecar~10.0.0.1~web.default~default.svc.cluster.local".to_owned(),
        ..Node::default()
    })
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn subscribe(kind: Kind, names: &[&str]) -> Incoming {
    Incoming::Delta(DeltaDiscoveryRequest {
        node: node(),
        type_url: kind.type_url(),
        resource_names_subscribe: strings(names),
        ..DeltaDiscoveryRequest::default()
    })
}

/// A message as a proxy reads it.
enum Read {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

fn read(outgoing: &Outgoing) -> Read {
    let mut bytes = Vec::new();
    outgoing.encode(&mut bytes);
    assert_eq!(bytes.len(), outgoing.encoded_len());
    match outgoing.form {
        Form::Delta => Read::Delta(DeltaDiscoveryResponse::decode(&*bytes).unwrap()),
        Form::Sotw => Read::Sotw(DiscoveryResponse::decode(&*bytes).unwrap()),
    }
}

/// What a message holds, for comparing: kind, resource names, removed names.
fn shape(outgoing: &Outgoing) -> (Kind, Vec<String>, Vec<String>) {
    match read(outgoing) {
        Read::Delta(response) => (
            Kind::from_type_url(&response.type_url).unwrap(),
            response
                .resources
                .iter()
                .map(|resource| resource.name.clone())
                .collect(),
            response.removed_resources.clone(),
        ),
        Read::Sotw(response) => (
            Kind::from_type_url(&response.type_url).unwrap(),
            response
                .resources
                .iter()
                .map(|any| String::from_utf8(any.value.clone()).unwrap())
                .collect(),
            Vec::new(),
        ),
    }
}

fn is(kind: Kind, resources: &[&str], removed: &[&str]) -> (Kind, Vec<String>, Vec<String>) {
    (kind, strings(resources), strings(removed))
}

fn shapes(outgoing: &[Outgoing]) -> Vec<(Kind, Vec<String>, Vec<String>)> {
    outgoing.iter().map(shape).collect()
}

fn confirm(
    session: &mut Session,
    outgoing: &Outgoing,
    names: &[&str],
    error: Option<&str>,
) -> Option<Nack> {
    let status = |message: &str| Status {
        code: 3,
        message: message.to_owned(),
        details: Vec::new(),
    };
    session.receive(match read(outgoing) {
        Read::Delta(response) => Incoming::Delta(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: error.map(status),
            ..DeltaDiscoveryRequest::default()
        }),
        Read::Sotw(response) => Incoming::Sotw(DiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            version_info: response.version_info.clone(),
            resource_names: strings(names),
            error_detail: error.map(status),
            ..DiscoveryRequest::default()
        }),
    })
}

/// A delta session in which the proxy has everything of the mesh.
fn settled(mesh: &Mesh) -> Session {
    let mut session = Session::new(Form::Delta);
    let eds: Vec<&str> = mesh.resources[&Kind::Cluster]
        .keys()
        .map(String::as_str)
        .collect();
    for (kind, names) in [
        (Kind::Cluster, vec![]),
        (Kind::Endpoint, eds),
        (Kind::Listener, vec![]),
        (
            Kind::Route,
            mesh.resources[&Kind::Route]
                .keys()
                .map(String::as_str)
                .collect(),
        ),
    ] {
        session.receive(subscribe(kind, &names));
        for message in session.next(mesh) {
            confirm(&mut session, &message, &[], None);
        }
    }
    assert!(session.next(mesh).is_empty());
    assert!(session.is_confirmed());
    session
}

fn mesh(cluster: &str, version: &str) -> Mesh {
    Mesh::default()
        .with(Kind::Cluster, &[(cluster, version)])
        .with(Kind::Endpoint, &[("a", "1"), ("b", "1")])
        .with(Kind::Listener, &[("l", version)])
        .with(Kind::Route, &[("80", version)])
}

#[test]
fn the_first_request_is_answered_even_with_nothing() {
    for kind in [Kind::Cluster, Kind::Listener] {
        let mut session = Session::new(Form::Delta);
        session.receive(subscribe(kind, &[]));
        assert_eq!(
            shapes(&session.next(&Mesh::default())),
            [is(kind, &[], &[])]
        );
    }
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_gone() {
    let mut session = Session::new(Form::Delta);
    session.receive(subscribe(Kind::Route, &["80", "no"]));
    let mesh = Mesh::default().with(Kind::Route, &[("80", "1")]);
    assert_eq!(
        shapes(&session.next(&mesh)),
        [is(Kind::Route, &["80"], &["no"])]
    );
}

#[test]
fn only_what_changed_is_sent() {
    let mut session = settled(&mesh("a", "1"));
    session.changed();
    assert!(session.next(&mesh("a", "1")).is_empty());
    session.changed();
    let changed = mesh("a", "1").with(Kind::Route, &[("80", "2")]);
    assert_eq!(
        shapes(&session.next(&changed)),
        [is(Kind::Route, &["80"], &[])]
    );
}

#[test]
fn make_before_break() {
    let mut session = settled(&mesh("a", "1"));
    let next = mesh("b", "2");
    session.changed();
    let clusters = session.next(&next);
    assert_eq!(
        shapes(&clusters),
        [is(Kind::Cluster, &["b"], &[])],
        "the old one stays"
    );
    confirm(&mut session, &clusters[0], &[], None);
    assert!(
        session.next(&next).is_empty(),
        "endpoints of b are not there"
    );
    session.receive(subscribe(Kind::Endpoint, &["b"]));
    let endpoints = session.next(&next);
    assert_eq!(shapes(&endpoints), [is(Kind::Endpoint, &["b"], &[])]);
    confirm(&mut session, &endpoints[0], &[], None);
    let rest = session.next(&next);
    assert_eq!(
        shapes(&rest),
        [
            is(Kind::Listener, &["l"], &[]),
            is(Kind::Route, &["80"], &[])
        ]
    );
    confirm(&mut session, &rest[0], &[], None);
    assert!(session.next(&next).is_empty(), "routes may still name a");
    confirm(&mut session, &rest[1], &[], None);
    assert_eq!(
        shapes(&session.next(&next)),
        [is(Kind::Cluster, &[], &["a"])]
    );
}

#[test]
fn a_leaving_cluster_keeps_its_endpoints() {
    let mut session = settled(&mesh("a", "1"));
    // The cluster and what its endpoints were go at once; its route goes later.
    let next = mesh("b", "2").with(Kind::Endpoint, &[("a", "empty"), ("b", "1")]);
    session.changed();
    let clusters = session.next(&next);
    assert_eq!(shapes(&clusters), [is(Kind::Cluster, &["b"], &[])]);
    confirm(&mut session, &clusters[0], &[], None);
    session.receive(subscribe(Kind::Endpoint, &["b"]));
    assert_eq!(
        shapes(&session.next(&next)),
        [is(Kind::Endpoint, &["b"], &[])]
    );
}

#[test]
fn a_silent_proxy_gets_the_rest_after_the_limit() {
    let mut session = settled(&mesh("a", "1"));
    let next = mesh("b", "2");
    session.changed();
    assert_eq!(session.next(&next).len(), 1);
    assert!(session.next(&next).is_empty());
    session.stop_waiting();
    assert_eq!(
        shapes(&session.next(&next)),
        [
            is(Kind::Listener, &["l"], &[]),
            is(Kind::Route, &["80"], &[])
        ]
    );
}

#[test]
fn changes_merge_while_the_proxy_is_slow() {
    let mut session = settled(&mesh("a", "1"));
    let route = |version| mesh("a", "1").with(Kind::Route, &[("80", version)]);
    session.changed();
    let sent = session.next(&route("2"));
    for version in ["3", "4", "5"] {
        session.changed();
        assert!(
            session.next(&route(version)).is_empty(),
            "not confirmed yet"
        );
    }
    confirm(&mut session, &sent[0], &[], None);
    let merged = session.next(&route("5"));
    assert_eq!(shapes(&merged), [is(Kind::Route, &["80"], &[])]);
    confirm(&mut session, &merged[0], &[], None);
    assert!(session.is_confirmed());
}

#[test]
fn a_refusal_is_told_and_not_repeated() {
    let mut session = settled(&mesh("a", "1"));
    session.changed();
    let bad = mesh("a", "1").with(Kind::Listener, &[("l", "bad")]);
    let sent = session.next(&bad);
    let nack = confirm(&mut session, &sent[0], &[], Some("l: no")).unwrap();
    assert_eq!((nack.kind, nack.reason.as_str()), (Kind::Listener, "l: no"));
    session.changed();
    assert!(
        session.next(&bad).is_empty(),
        "the same again would be refused again"
    );
    session.changed();
    let good = mesh("a", "1").with(Kind::Listener, &[("l", "good")]);
    assert_eq!(session.next(&good).len(), 1);
}

#[test]
fn a_reconnecting_proxy_is_sent_only_the_difference() {
    let mut session = Session::new(Form::Delta);
    session.receive(Incoming::Delta(DeltaDiscoveryRequest {
        node: node(),
        type_url: Kind::Cluster.type_url(),
        initial_resource_versions: [("a", "1"), ("gone", "1")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        ..DeltaDiscoveryRequest::default()
    }));
    let mesh = Mesh::default().with(Kind::Cluster, &[("a", "1"), ("b", "1")]);
    let sent = session.next(&mesh);
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["b"], &[])]);
    confirm(&mut session, &sent[0], &[], None);
    assert_eq!(
        shapes(&session.next(&mesh)),
        [is(Kind::Cluster, &[], &["gone"])]
    );
}

fn ask(kind: Kind, names: &[&str]) -> Incoming {
    Incoming::Sotw(DiscoveryRequest {
        node: node(),
        type_url: kind.type_url(),
        resource_names: strings(names),
        ..DiscoveryRequest::default()
    })
}

#[test]
fn state_of_the_world_repeats_leaving_clusters_until_routes_are_confirmed() {
    let mut session = Session::new(Form::Sotw);
    let first = mesh("a", "1");
    for (kind, names) in [
        (Kind::Cluster, &[][..]),
        (Kind::Endpoint, &["a"]),
        (Kind::Listener, &[]),
        (Kind::Route, &["80"]),
    ] {
        session.receive(ask(kind, names));
        for message in session.next(&first) {
            confirm(&mut session, &message, names, None);
        }
    }
    let next = mesh("b", "2");
    session.changed();
    let clusters = session.next(&next);
    assert_eq!(shapes(&clusters), [is(Kind::Cluster, &["b", "a"], &[])]);
    confirm(&mut session, &clusters[0], &[], None);
    session.receive(Incoming::Sotw(DiscoveryRequest {
        type_url: Kind::Endpoint.type_url(),
        resource_names: strings(&["a", "b"]),
        response_nonce: session.watch(Kind::Endpoint).unwrap().nonce.clone(),
        ..DiscoveryRequest::default()
    }));
    let endpoints = session.next(&next);
    assert_eq!(shapes(&endpoints), [is(Kind::Endpoint, &["a", "b"], &[])]);
    confirm(&mut session, &endpoints[0], &["a", "b"], None);
    for message in session.next(&next) {
        let names: &[&str] = if shape(&message).0 == Kind::Route {
            &["80"]
        } else {
            &[]
        };
        confirm(&mut session, &message, names, None);
    }
    assert_eq!(
        shapes(&session.next(&next)),
        [is(Kind::Cluster, &["b"], &[])]
    );
}

#[test]
fn a_name_taken_back_beside_everything_is_said_to_be_there_or_not() {
    let mesh = Mesh::default().with(Kind::Cluster, &[("a", "1")]);
    let mut session = Session::new(Form::Delta);
    session.receive(subscribe(Kind::Cluster, &[]));
    let sent = session.next(&mesh);
    confirm(&mut session, &sent[0], &[], None);
    session.receive(subscribe(Kind::Cluster, &["a", "no"]));
    let sent = session.next(&mesh);
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["a"], &["no"])]);
    confirm(&mut session, &sent[0], &[], None);
    session.receive(Incoming::Delta(DeltaDiscoveryRequest {
        type_url: Kind::Cluster.type_url(),
        resource_names_unsubscribe: strings(&["a", "no"]),
        ..DeltaDiscoveryRequest::default()
    }));
    let sent = session.next(&mesh);
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["a"], &["no"])]);
}

#[test]
fn without_everything_only_what_is_named_is_sent() {
    let mesh = |version| Mesh::default().with(Kind::Cluster, &[("a", version), ("b", version)]);
    let mut session = Session::new(Form::Delta);
    session.receive(subscribe(Kind::Cluster, &["*", "a"]));
    let sent = session.next(&mesh("1"));
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["a", "b"], &[])]);
    confirm(&mut session, &sent[0], &[], None);
    session.receive(Incoming::Delta(DeltaDiscoveryRequest {
        type_url: Kind::Cluster.type_url(),
        resource_names_unsubscribe: strings(&["*"]),
        ..DeltaDiscoveryRequest::default()
    }));
    assert!(session.next(&mesh("1")).is_empty());
    session.changed();
    let sent = session.next(&mesh("2"));
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["a"], &[])]);
}

#[test]
fn in_the_state_of_the_world_no_names_after_some_are_none() {
    let mesh = Mesh::default().with(Kind::Cluster, &[("a", "1"), ("b", "1")]);
    let mut session = Session::new(Form::Sotw);
    session.receive(ask(Kind::Cluster, &["a"]));
    let sent = session.next(&mesh);
    assert_eq!(shapes(&sent), [is(Kind::Cluster, &["a"], &[])]);
    confirm(&mut session, &sent[0], &[], None);
    session.changed();
    assert!(session.next(&mesh).is_empty(), "nothing is wanted any more");
}

#[test]
fn an_old_nonce_says_nothing() {
    let mut session = Session::new(Form::Sotw);
    session.receive(ask(Kind::Cluster, &[]));
    let mesh = Mesh::default().with(Kind::Cluster, &[("a", "1")]);
    let first = session.next(&mesh);
    confirm(&mut session, &first[0], &[], None);
    session.changed();
    let second = session.next(&Mesh::default().with(Kind::Cluster, &[("a", "2")]));
    assert_eq!(second.len(), 1);
    confirm(&mut session, &first[0], &[], None);
    assert!(!session.is_confirmed(), "the second answer is still out");
}
