//! Any sequence of changes ends where starting from the last state would have ended. `MELTEMI_CASES` runs
//! more sequences.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{Config, ResourceId};
use meltemi_snapshot::{Snapshot, Store};
use meltemi_xds_server::{Form, Kind, View as _, Wanted};
use proptest::prelude::*;

use super::MeshView;
use super::mesh::{Change, changes, key_sources, nodes};
use super::model::Model;

/// A push: some changes at once, by their place among all.
fn pushes() -> impl Strategy<Value = Vec<Vec<prop::sample::Index>>> {
    let push = prop::collection::vec(any::<prop::sample::Index>(), 1..6);
    prop::collection::vec(push, 1..10)
}

/// All messages are delivered until nobody has anything to say.
fn settle(models: &mut [Model]) {
    models.iter_mut().for_each(Model::settle);
}

/// What is left of a sequence of changes, with the keys that `last` knows.
fn fresh(applied: &[Change], last: &Snapshot) -> Arc<Snapshot> {
    let mut configs = BTreeMap::new();
    for change in applied {
        match change {
            Change::Set(config) => drop(configs.insert(config.id(), Config::clone(config))),
            Change::Gone(id) => drop(configs.remove(id)),
            Change::Keys(..) => {}
        }
    }
    let mut store = Store::default();
    configs.into_values().for_each(|it| store.apply(it));
    for source in key_sources() {
        if let Some(keys) = last.keys(&source) {
            store.set_keys(&source, keys.into());
        }
    }
    store.commit().snapshot
}

fn sessions(view: &Arc<MeshView>) -> Vec<Model> {
    let forms = [Form::Delta, Form::Sotw];
    let pairs = forms.into_iter().flat_map(|form| {
        let nodes = nodes().into_iter();
        nodes.map(move |node| {
            let mut node = node;
            // Two proxies must not have one id; the pod's name stays.
            if form == Form::Sotw {
                node.user_agent_name = "sotw".to_owned();
            }
            Model::new(node, form, view)
        })
    });
    pairs.collect()
}

/// Each of these bursts of changes is pushed, and every proxy must have what is there after it.
fn run(pushes: &[Vec<Change>], models: impl FnOnce(&Arc<MeshView>) -> Vec<Model>) {
    let mut store = Store::default();
    let view = Arc::new(MeshView::new(Arc::default()));
    let mut models = models(&view);
    let mut applied = Vec::new();
    for push in pushes {
        push.iter().for_each(|it| it.apply(&mut store));
        applied.extend(push.iter().cloned());
        let commit = store.commit();
        view.publish(&commit.snapshot, &commit.delta);
        settle(&mut models);
        let fresh = fresh(&applied, store.snapshot());
        for model in &models {
            model.check(&fresh);
        }
    }
    // The same at once, by proxies and a control plane that have never seen anything.
    let fresh = fresh(&applied, store.snapshot());
    let view = Arc::new(MeshView::new(fresh));
    for model in &models {
        let seen = view.clone().viewer(&model.node).look();
        for kind in Kind::ALL {
            assert!(
                seen.resources(kind, &Wanted::All)
                    .is_sorted_by_key(|it| it.name.clone())
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("MELTEMI_CASES").ok().and_then(|it| it.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_changes_ends_as_a_fresh_start(pushes in pushes()) {
        let all = changes();
        let pick = |push: &Vec<prop::sample::Index>| {
            push.iter().map(|index| index.get(&all).clone()).collect()
        };
        let pushes: Vec<Vec<Change>> = pushes.iter().map(pick).collect();
        run(&pushes, sessions);
    }
}

/// Every change alone, to a mesh in which everything else is there. What is gone comes back after it.
fn each_alone(full: Vec<Change>) {
    let set = |id: &ResourceId| {
        let is_it = |it: &&Change| matches!(it, Change::Set(config) if config.id() == *id);
        full.iter().rfind(is_it).cloned()
    };
    let mut pushes = vec![full.clone()];
    for change in &full {
        pushes.push(vec![change.clone()]);
        if let Change::Set(config) = change {
            pushes.push(vec![Change::Gone(config.id())]);
            pushes.push(set(&config.id()).into_iter().collect());
        }
    }
    run(&pushes, |view| {
        let nodes = nodes().into_iter();
        nodes
            .map(|node| Model::new(node, Form::Delta, view))
            .collect()
    });
}

/// What is there of everything: all changes but those that take something away.
fn full() -> Vec<Change> {
    let mut all = changes();
    all.retain(|it| !matches!(it, Change::Gone(_)));
    all
}

#[test]
fn each_change_to_the_last_versions_arrives() {
    each_alone(full());
}

#[test]
fn each_change_to_the_first_versions_arrives() {
    let mut full = full();
    // Keys are taken only where somebody names them.
    let (keys, mut sets): (Vec<_>, Vec<_>) = full
        .drain(..)
        .partition(|it| matches!(it, Change::Keys(..)));
    sets.reverse();
    sets.extend(keys);
    each_alone(sets);
}
