#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use meltemi_ir::LbPolicy;
use meltemi_lifecycle::Random;

use super::priority::{Among, Choice, PriorityCounts, PriorityLoads};
use super::schedule::Schedule;

/// Priorities of a hundred hosts each, by how many are healthy and degraded.
fn hundreds(parts: &[(u32, u32)]) -> Vec<PriorityCounts> {
    parts
        .iter()
        .map(|(healthy, degraded)| PriorityCounts {
            total: 100,
            healthy: *healthy,
            degraded: *degraded,
        })
        .collect()
}

#[test]
fn load_spills_over_by_the_documented_arithmetic() {
    type Case = (
        &'static [(u32, u32)],
        &'static [u32],
        &'static [u32],
        &'static [bool],
    );
    let cases: [Case; 15] = [
        (&[(100, 0), (100, 0)], &[100, 0], &[0, 0], &[false, false]),
        (&[(72, 0), (72, 0)], &[100, 0], &[0, 0], &[false, false]),
        (&[(71, 0), (71, 0)], &[99, 1], &[0, 0], &[false, false]),
        (&[(50, 0), (60, 0)], &[70, 30], &[0, 0], &[false, false]),
        (&[(25, 0), (100, 0)], &[35, 65], &[0, 0], &[false, false]),
        (&[(0, 0), (100, 0)], &[0, 100], &[0, 0], &[false, false]),
        (&[(25, 0), (25, 0)], &[50, 50], &[0, 0], &[true, true]),
        (&[(5, 0), (65, 0)], &[8, 92], &[0, 0], &[true, false]),
        (
            &[(25, 0), (25, 0), (100, 0)],
            &[35, 35, 30],
            &[0, 0, 0],
            &[false, false, false],
        ),
        (
            &[(25, 0), (25, 0), (20, 0)],
            &[37, 35, 28],
            &[0, 0, 0],
            &[true, true, true],
        ),
        // Degraded hosts come after the healthy ones of every priority.
        (&[(0, 100), (100, 0)], &[0, 100], &[0, 0], &[false, false]),
        (&[(0, 100), (50, 0)], &[0, 70], &[30, 0], &[false, false]),
        (&[(0, 100)], &[0], &[100], &[false]),
        // Nothing is available: by size.
        (&[(0, 0), (0, 0)], &[50, 50], &[0, 0], &[true, true]),
        (&[], &[], &[], &[]),
    ];
    for (counts, healthy, degraded, panic) in cases {
        let loads = PriorityLoads::new(&hundreds(counts), 50.0);
        assert_eq!(loads.healthy, healthy, "{counts:?}");
        assert_eq!(loads.degraded, degraded, "{counts:?}");
        assert_eq!(loads.panic, panic, "{counts:?}");
    }
}

#[test]
fn panic_may_be_turned_off() {
    let loads = PriorityLoads::new(&hundreds(&[(0, 0)]), 0.0);
    assert_eq!(loads.choose(|| 0), None);
    let loads = PriorityLoads::new(&hundreds(&[(10, 0)]), 0.0);
    let among = Among::Healthy;
    assert_eq!(loads.choose(|| 99), Some(Choice { priority: 0, among }));
    let loads = PriorityLoads::new(&hundreds(&[(10, 0)]), 50.0);
    let among = Among::All;
    assert_eq!(loads.choose(|| 99), Some(Choice { priority: 0, among }));
}

#[test]
fn a_roll_finds_its_priority() {
    let counts = hundreds(&[(0, 0), (50, 0), (0, 100)]);
    let loads = PriorityLoads::new(&counts, 50.0);
    for (roll, priority, among) in [
        (0, 1, Among::Healthy),
        (69, 1, Among::Healthy),
        (70, 2, Among::Degraded),
        (99, 2, Among::Degraded),
    ] {
        assert_eq!(loads.choose(|| roll), Some(Choice { priority, among }));
    }
}

/// How often each of the hosts is chosen in so many rounds.
fn tally(policy: &LbPolicy, weights: &[u32], rounds: usize, active: &[u64]) -> Vec<usize> {
    let random = Random::seeded(7);
    let mut schedule = Schedule::new(policy, weights.to_vec(), &random);
    let mut counts = vec![0; weights.len()];
    for _ in 0..rounds {
        counts[schedule.next(&random, |index| active[index]).unwrap()] += 1;
    }
    counts
}

#[test]
fn round_robin_follows_the_weights_exactly() {
    for (weights, rounds, expected) in [
        (vec![1, 1, 1], 9, vec![3, 3, 3]),
        (vec![9, 1], 100, vec![90, 10]),
        (vec![90, 10], 100, vec![90, 10]),
        (vec![1, 2, 3], 60, vec![10, 20, 30]),
        (vec![5], 3, vec![3]),
    ] {
        let active = vec![0; weights.len()];
        let counts = tally(&LbPolicy::RoundRobin, &weights, rounds, &active);
        for (count, expected) in counts.iter().zip(&expected) {
            assert!(count.abs_diff(*expected) <= 1, "{weights:?}: {counts:?}");
        }
    }
}

#[test]
fn random_is_uniform() {
    let counts = tally(&LbPolicy::Random, &[1, 1, 1, 1], 4000, &[0; 4]);
    assert!(
        counts.iter().all(|count| count.abs_diff(1000) < 150),
        "{counts:?}"
    );
}

#[test]
fn least_request_prefers_the_less_busy() {
    let policy = LbPolicy::LeastRequest { choice_count: 2 };
    let counts = tally(&policy, &[1, 1], 1000, &[10, 0]);
    // Both picks are the busy one a quarter of the time.
    assert!(counts[0].abs_diff(250) < 60, "{counts:?}");
    let counts = tally(&policy, &[2, 1], 1000, &[9, 0]);
    // Weights become 2/10 and 1/1.
    assert!(counts[1] > 800, "{counts:?}");

    // Requests that stay in flight even out.
    let random = Random::seeded(3);
    let mut schedule = Schedule::new(&policy, vec![1; 4], &random);
    let active = RefCell::new([0_u64; 4]);
    for _ in 0..400 {
        let index = schedule
            .next(&random, |index| active.borrow()[index])
            .unwrap();
        active.borrow_mut()[index] += 1;
    }
    let active = active.into_inner();
    assert!(
        active.iter().all(|count| count.abs_diff(100) <= 3),
        "{active:?}"
    );
}

#[test]
fn no_hosts_give_nothing() {
    for policy in [
        LbPolicy::RoundRobin,
        LbPolicy::Random,
        LbPolicy::LeastRequest { choice_count: 2 },
    ] {
        let random = Random::seeded(1);
        let mut schedule = Schedule::new(&policy, Vec::new(), &random);
        assert_eq!(schedule.next(&random, |_| 0), None);
    }
}
