//! Proxies that look, ask and confirm on threads of their own while pushes are made.
//!
//! Which of them comes first is left to the machine; whoever did, every proxy must come to have what is made
//! for it from the last state alone. `MELTEMI_ROUNDS` runs more rounds.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use meltemi_snapshot::Store;

use super::MeshView;
use super::mesh::changes;
use super::model::Model;
use super::simulation::{Numbers, proxies};

/// How many proxies there are, and threads that run them.
const PROXIES: usize = 12;
const THREADS: usize = 3;
/// How many pushes are made.
const PUSHES: usize = 40;

fn run(models: &mut [Model], view: &Arc<MeshView>, over: &AtomicBool, numbers: &mut Numbers) {
    while !over.load(Ordering::Relaxed) {
        let one = numbers.below(models.len());
        let model = &mut models[one];
        match numbers.below(100) {
            0..3 => model.connect(view),
            3..5 => model.restart(view),
            5..35 => drop(model.take(false)),
            35..65 => drop(model.serve()),
            _ => drop(model.push()),
        }
    }
}

fn race(seed: u64) {
    let mut numbers = Numbers(seed);
    let all = changes();
    let mut store = Store::default();
    let view = Arc::new(MeshView::new(Arc::default()));
    let mut models = proxies(PROXIES, &view);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (number, models) in models.chunks_mut(PROXIES / THREADS).enumerate() {
            let (view, over) = (&view, &over);
            let mut numbers = Numbers(seed ^ (number as u64) << 32);
            scope.spawn(move || run(models, view, over, &mut numbers));
        }
        for _ in 0..PUSHES {
            for _ in 0..=numbers.below(4) {
                all[numbers.below(all.len())].apply(&mut store);
            }
            let commit = store.commit();
            view.publish(&commit.snapshot, &commit.delta);
        }
        over.store(true, Ordering::Relaxed);
    });
    for model in &mut models {
        model.settle();
        model.check(store.snapshot());
    }
}

#[test]
fn whoever_looks_during_a_push_misses_nothing() {
    let rounds = std::env::var("MELTEMI_ROUNDS").ok();
    let rounds = rounds.and_then(|it| it.parse().ok()).unwrap_or(8);
    (0..rounds).for_each(race);
}
