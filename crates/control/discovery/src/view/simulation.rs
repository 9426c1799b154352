//! A control plane and fifty proxies, with everything that goes wrong between them, from a seed.
//!
//! Streams break, messages wait for one another in any order between proxies, proxies refuse, restart
//! and fall silent, while the mesh changes. When the faults end, every proxy must come to have exactly
//! what is made for it from the last state alone. `MELTEMI_SEEDS` runs more seeds, `MELTEMI_SEED` one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Arc;

use meltemi_snapshot::Store;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds_server::Form;

use super::MeshView;
use super::mesh::{changes, nodes};
use super::model::Model;

/// How many proxies there are.
const PROXIES: usize = 50;
/// How much happens before the faults end.
const EVENTS: usize = 400;
/// How many seeds run if nothing is said.
const SEEDS: u64 = 40;

/// A generator of numbers that is the same everywhere (SplitMix64).
pub(super) struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// The proxies: those of the small mesh, others beside them in the same groups, and some that have a second
/// stream, of which the session is another.
pub(super) fn proxies(count: usize, view: &Arc<MeshView>) -> Vec<Model> {
    let kinds = nodes();
    (0..count)
        .map(|index| {
            let mut node: Node = kinds[index % kinds.len()].clone();
            let index = index - usize::from(index % 10 == 9) * kinds.len();
            if index >= kinds.len() {
                let mut parts = node.id.split('~').map(str::to_owned).collect::<Vec<_>>();
                parts[1] = format!("10.77.0.{index}");
                parts[2] = format!("copy-{index}.{}", parts[2].split_once('.').unwrap().1);
                node.id = parts.join("~");
            }
            let form = [Form::Delta, Form::Delta, Form::Sotw][index % 3];
            Model::new(node, form, view)
        })
        .collect()
}

fn simulate(seed: u64) {
    let mut numbers = Numbers(seed);
    let all = changes();
    let mut store = Store::default();
    let mut view = Arc::new(MeshView::new(Arc::default()));
    let mut models = proxies(PROXIES, &view);
    for _ in 0..EVENTS {
        let one = numbers.below(models.len());
        match numbers.below(100) {
            0..8 => {
                for _ in 0..=numbers.below(4) {
                    all[numbers.below(all.len())].apply(&mut store);
                }
                let commit = store.commit();
                view.publish(&commit.snapshot, &commit.delta);
            }
            8..11 => models[one].connect(&view),
            11..13 => models[one].restart(&view),
            13..15 => models[one].session.stop_waiting(),
            15..18 => drop(models[one].take(true)),
            18..19 => {
                // The control plane starts again, and everybody has to connect again.
                view = Arc::new(MeshView::new(store.snapshot().clone()));
                models.iter_mut().for_each(|it| it.connect(&view));
            }
            19..45 => drop(models[one].take(false)),
            45..72 => drop(models[one].serve()),
            // What is sent may be made of what there was some time ago.
            72..77 => models[one].look(),
            _ => drop(models[one].push()),
        }
    }
    for model in &mut models {
        // What was refused is not sent again until it changes or the proxy comes back.
        if model.refused {
            model.connect(&view);
        }
        model.settle();
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
