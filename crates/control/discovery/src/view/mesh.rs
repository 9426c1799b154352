//! A small mesh in which everything may change: what property tests and simulations run on.
//!
//! Every kind of resource that reaches proxies is here in several versions, so that a translation that
//! forgets to note what it read is found out.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, KeySource, Kind, ResourceId, convert};
use meltemi_snapshot::Store;
use meltemi_xds::json::from_json;
use meltemi_xds::pb::envoy::config::core::v3::Node;

/// Something that happens to the mesh.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A resource is there in one of its versions.
    Set(Box<Config>),
    /// A resource is gone.
    Gone(ResourceId),
    /// The keys of an issuer were fetched.
    Keys(KeySource, Arc<str>),
}

impl Change {
    pub fn apply(&self, store: &mut Store) {
        match self {
            Self::Set(config) => store.apply(Config::clone(config)),
            Self::Gone(id) => store.delete(id),
            Self::Keys(source, keys) => store.set_keys(source, keys.clone()),
        }
    }
}

/// Where the keys of issuers are.
pub(super) fn key_sources() -> [KeySource; 2] {
    [
        "https://one.example.com/keys",
        "https://two.example.com/keys",
    ]
    .map(|it| KeySource::Uri(it.into()))
}

/// Everything that may happen.
pub(super) fn changes() -> Vec<Change> {
    let documents = meltemi_api::parse(None, POOL).unwrap();
    let defaults = Defaults {
        judge: meltemi_translate::judge(),
        ..Defaults::default()
    };
    let applied: Vec<_> = documents
        .iter()
        .map(|it| {
            let config = convert(it, &defaults).unwrap();
            (config.id(), Change::Set(Box::new(config)))
        })
        .collect();
    let ids: BTreeSet<_> = applied.iter().map(|(id, _)| id.clone()).collect();
    let fetched = key_sources().into_iter().flat_map(|source| {
        let keys = ["first", "second"].map(Arc::from).into_iter();
        keys.map(move |keys| Change::Keys(source.clone(), keys))
    });
    let applied = applied.into_iter().map(|(_, change)| change);
    applied
        .chain(ids.into_iter().map(Change::Gone))
        .chain(fetched)
        .collect()
}

/// The proxies that look at it.
pub(super) fn nodes() -> Vec<Node> {
    let node = |id: &str, metadata: serde_json::Value| {
        from_json::<Node>(serde_json::json!({"id": id, "metadata": metadata})).unwrap()
    };
    let none = || serde_json::json!({});
    vec![
        node(
            "sidecar~10.1.0.1~cart-1.shop~shop.svc.cluster.local",
            none(),
        ),
        node(
            "sidecar~10.1.0.2~cart-2.shop~shop.svc.cluster.local",
            none(),
        ),
        node(
            "sidecar~10.2.0.9~batch.web~web.svc.cluster.local",
            serde_json::json!({
                "LABELS": {"app": "batch"},
                "DNS_CAPTURE": "true",
                "DNS_AUTO_ALLOCATE": "true",
                "TIER": "gold",
            }),
        ),
        node(
            "sidecar~127.0.0.7~loop.web~web.svc.cluster.local",
            serde_json::json!({"INTERCEPTION_MODE": "NONE"}),
        ),
        node(
            "router~10.9.0.1~gateway.istio-system~istio-system.svc.cluster.local",
            serde_json::json!({"LABELS": {"istio": "ingressgateway"}}),
        ),
    ]
}

/// What a read is of must change in the pool without anything else that would be noticed, or nobody
/// would miss the note of it.
#[test]
fn the_pool_moves_an_address_by_a_service_that_is_not_seen() {
    let mut store = Store::default();
    let addresses = |store: &mut Store| {
        let snapshot = store.commit().snapshot;
        let all = snapshot.services();
        all.auto_addresses_of(
            &"web".into(),
            &meltemi_model::Hostname::new("k632.example.com"),
        )
        .to_vec()
    };
    for change in changes() {
        if let Change::Set(config) = &change
            && ["aaa", "zzz"].contains(&config.id().name.as_ref())
        {
            change.apply(&mut store);
        }
    }
    let before = addresses(&mut store);
    let gone = changes()
        .into_iter()
        .find(|it| matches!(it, Change::Gone(id) if id.name.as_ref() == "aaa"));
    gone.unwrap().apply(&mut store);
    assert_ne!(before, addresses(&mut store));
}

/// A kind that is added without versions in the pool would be one of which nobody knows whether its
/// changes arrive.
#[test]
fn every_kind_is_in_the_pool() {
    // No resource of a proxy is made of these.
    let silent = [
        Kind::ServiceAccount,
        Kind::Node,
        Kind::ConfigMap,
        Kind::WorkloadGroup,
        Kind::ProxyConfig,
    ];
    let changes = changes();
    for kind in Kind::ALL.iter().filter(|it| !silent.contains(it)) {
        let is_of = |it: &&Change| matches!(it, Change::Set(config) if config.id().kind == *kind);
        let versions = changes.iter().filter(is_of);
        assert!(versions.count() >= 2, "{kind} needs two versions at least");
    }
}

const POOL: &str = include_str!("pool.yaml");
