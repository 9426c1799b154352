//! A control plane and fifty proxies, with everything that goes wrong between them, from a seed.
//!
//! Streams break, messages wait for one another in any order between proxies, proxies refuse, restart
//! and fall silent, while the mesh changes. When the faults end, every proxy must come to have exactly
//! what is made for it from the last state alone. `MELTEMI_SEEDS` runs more seeds, `MELTEMI_SEED` one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;

use meltemi_snapshot::{Delta, Store};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::Form;

use super::mesh::{changes, nodes};
use super::model::Model;
use super::{Kept, MeshView};

/// How many proxies there are.
const PROXIES: usize = 50;
/// How much happens before the faults end.
const EVENTS: usize = 400;
/// How many seeds run if nothing is said.
const SEEDS: u64 = 40;

/// A generator of numbers that is the same everywhere (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// The proxies: those of the small mesh, and others beside them in the same groups.
fn proxies() -> Vec<Model> {
    let kinds = nodes();
    (0..PROXIES)
        .map(|index| {
            let mut node: Node = kinds[index % kinds.len()].clone();
            if index >= kinds.len() {
                let mut parts = node.id.split('~').map(str::to_owned).collect::<Vec<_>>();
                parts[1] = format!("10.77.0.{index}");
                parts[2] = format!("copy-{index}.{}", parts[2].split_once('.').unwrap().1);
                node.id = parts.join("~");
            }
            let form = [Form::Delta, Form::Delta, Form::Sotw][index % 3];
            Model::new(node, form)
        })
        .collect()
}

fn simulate(seed: u64) {
    let mut numbers = Numbers(seed);
    let all = changes();
    let mut store = Store::default();
    let mut kept: Arc<Kept> = Arc::default();
    let mut view = MeshView::new(Arc::default(), &Delta::default(), kept.clone());
    let mut models = proxies();
    for _ in 0..EVENTS {
        let one = numbers.below(models.len());
        match numbers.below(100) {
            0..8 => {
                for _ in 0..=numbers.below(4) {
                    all[numbers.below(all.len())].apply(&mut store);
                }
                let commit = store.commit();
                view = MeshView::new(commit.snapshot, &commit.delta, kept.clone());
                for model in &mut models {
                    model.session.changed();
                }
            }
            8..11 => models[one].connect(),
            11..13 => models[one].restart(),
            13..15 => models[one].session.stop_waiting(),
            15..18 => drop(models[one].take(true)),
            18..19 => {
                // The control plane starts again, and everybody has to connect again.
                kept = Arc::default();
                let snapshot = store.snapshot().clone();
                view = MeshView::new(snapshot, &Delta::default(), kept.clone());
                models.iter_mut().for_each(Model::connect);
            }
            19..45 => drop(models[one].take(false)),
            45..75 => drop(models[one].serve()),
            _ => drop(models[one].push(&view)),
        }
    }
    for model in &mut models {
        // What was refused is not sent again until it changes or the proxy comes back.
        if model.refused {
            model.connect();
        }
        model.settle(&view);
        model.check(store.snapshot());
    }
}

#[test]
fn fifty_proxies_converge_whatever_happens() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|it| it.parse::<u64>().ok())
    };
    let seeds = match number("MELTEMI_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MELTEMI_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| simulate(seed));
        if let Err(panic) = result {
            let again = format!("MELTEMI_SEED={seed}");
            panic!(
                "seed {seed} fails; run again with {again}: {}",
                words(&*panic)
            );
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
        .unwrap_or_default()
}
