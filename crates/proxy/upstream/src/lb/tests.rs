#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use meltemi_ir::{ConsistentHashing, HashFunction, LbPolicy, LeastRequest, Maglev, RingHash};
use meltemi_lifecycle::Random;

use super::hash::{MURMUR_SEED, murmur_hash2, xx_hash};
use super::hashing::{HashTable, Weighted};
use super::priority::{Among, Choice, LoadSettings, PriorityCounts, PriorityLoads};
use super::schedule::Schedule;

/// Priorities of a hundred hosts each, by how many are healthy and degraded.
fn hundreds(parts: &[(u32, u32)]) -> Vec<PriorityCounts> {
    parts
        .iter()
        .map(|(healthy, degraded)| PriorityCounts {
            hosts: 100,
            total: 100,
            healthy: *healthy,
            degraded: *degraded,
        })
        .collect()
}

fn panic_below(panic_threshold: f64) -> LoadSettings {
    LoadSettings {
        panic_threshold,
        overprovisioning: 140,
        fail_on_panic: false,
    }
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
        let loads = PriorityLoads::new(&hundreds(counts), panic_below(50.0));
        assert_eq!(loads.healthy, healthy, "{counts:?}");
        assert_eq!(loads.degraded, degraded, "{counts:?}");
        assert_eq!(loads.panic, panic, "{counts:?}");
    }
}

#[test]
fn panic_may_be_turned_off() {
    let loads = PriorityLoads::new(&hundreds(&[(0, 0)]), panic_below(0.0));
    assert_eq!(loads.choose(|| 0), None);
    let loads = PriorityLoads::new(&hundreds(&[(10, 0)]), panic_below(0.0));
    let among = Among::Healthy;
    assert_eq!(loads.choose(|| 99), Some(Choice { priority: 0, among }));
    let loads = PriorityLoads::new(&hundreds(&[(10, 0)]), panic_below(50.0));
    let among = Among::All;
    assert_eq!(loads.choose(|| 99), Some(Choice { priority: 0, among }));
}

#[test]
fn a_roll_finds_its_priority() {
    let counts = hundreds(&[(0, 0), (50, 0), (0, 100)]);
    let loads = PriorityLoads::new(&counts, panic_below(50.0));
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
        counts[schedule
            .next(&random, |index| active[index], |_| 1.0)
            .unwrap()] += 1;
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
        let counts = tally(&LbPolicy::ROUND_ROBIN, &weights, rounds, &active);
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
    let policy = LbPolicy::LeastRequest(LeastRequest::default());
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
            .next(&random, |index| active.borrow()[index], |_| 1.0)
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
        LbPolicy::ROUND_ROBIN,
        LbPolicy::Random,
        LbPolicy::LeastRequest(LeastRequest::default()),
    ] {
        let random = Random::seeded(1);
        let mut schedule = Schedule::new(&policy, Vec::new(), &random);
        assert_eq!(schedule.next(&random, |_| 0, |_| 1.0), None);
    }
}

#[test]
fn hashes_are_the_published_ones() {
    for (text, hash) in [
        ("", 0xEF46_DB37_51D8_E999),
        ("a", 0xD24E_C4F1_A98C_6E5B),
        ("abc", 0x44BC_2CF5_AD77_0999),
        (
            "Nobody inspects the spammish repetition",
            0xFBCE_A83C_8A37_8BF1,
        ),
    ] {
        assert_eq!(xx_hash(text.as_bytes(), 0), hash, "{text:?}");
    }
    assert_eq!(
        murmur_hash2(b"hello", MURMUR_SEED),
        2_762_169_579_135_187_400
    );
}

/// Hosts at 127.0.0.1 with these ports and shares; the index is the port less 90.
fn shares(parts: &[(u32, f64)]) -> Vec<Weighted> {
    let all: f64 = parts.iter().map(|(_, weight)| weight).sum();
    let share = |(port, weight): &(u32, f64)| Weighted {
        index: port - 90,
        key: format!("127.0.0.1:{port}"),
        weight: weight / all,
    };
    parts.iter().map(share).collect()
}

fn equal_shares(ports: std::ops::RangeInclusive<u32>) -> Vec<Weighted> {
    shares(&ports.map(|port| (port, 1.0)).collect::<Vec<_>>())
}

fn ring_of(minimum_size: u64, balance_factor: Option<u32>) -> LbPolicy {
    LbPolicy::RingHash(RingHash {
        minimum_size,
        maximum_size: 1024,
        function: HashFunction::XxHash,
        hashing: ConsistentHashing {
            use_hostname: false,
            balance_factor,
        },
    })
}

fn maglev_of(table_size: u64) -> LbPolicy {
    LbPolicy::Maglev(Maglev {
        table_size,
        hashing: ConsistentHashing::default(),
    })
}

fn idle(_: Option<u32>) -> u64 {
    0
}

#[test]
fn a_ring_is_the_one_that_envoy_makes() {
    // Six hosts with two points each, at the positions of Envoy's own test.
    let table = HashTable::new(&ring_of(12, None), &equal_shares(90..=95)).unwrap();
    assert_eq!(
        (
            table.stats.size,
            table.stats.min_per_host,
            table.stats.max_per_host
        ),
        (12, 2, 2)
    );
    let positions = [
        (833_437_586_790_550_860, 94),
        (928_266_305_478_181_108, 92),
        (1_033_482_794_131_418_490, 90),
        (3_551_244_743_356_806_947, 95),
        (3_851_675_632_748_031_481, 93),
        (5_583_722_120_771_150_861, 91),
        (6_311_230_543_546_372_928, 91),
        (7_700_377_290_971_790_572, 93),
        (13_144_177_310_400_110_813, 95),
        (13_444_792_449_719_432_967, 92),
        (15_516_499_411_664_133_160, 94),
        (16_117_243_373_044_804_889, 90),
    ];
    for (at, (position, port)) in positions.iter().enumerate() {
        assert_eq!(table.find(*position, 0, idle) + 90, *port);
        let next = positions[(at + 1) % positions.len()].1;
        assert_eq!(table.find(*position + 1, 0, idle) + 90, next);
        assert_eq!(table.find(*position, 1, idle) + 90, next, "another attempt");
    }
    assert_eq!(table.find(0, 0, idle) + 90, 94);
    assert_eq!(table.find(u64::MAX, 0, idle) + 90, 94);
}

#[test]
fn a_table_is_the_one_that_envoy_makes() {
    let table = HashTable::new(&maglev_of(7), &equal_shares(90..=95)).unwrap();
    let found: Vec<_> = (0..7).map(|hash| table.find(hash, 0, idle) + 90).collect();
    assert_eq!(found, [92, 94, 90, 91, 95, 90, 93]);
    // By weight: 1 to 2.
    let table = HashTable::new(&maglev_of(17), &shares(&[(90, 1.0), (91, 2.0)])).unwrap();
    assert_eq!(
        (table.stats.min_per_host, table.stats.max_per_host),
        (6, 11)
    );
}

#[test]
fn a_host_that_goes_moves_only_its_own_hashes() {
    for policy in [ring_of(1024, None), maglev_of(65537)] {
        let before = HashTable::new(&policy, &equal_shares(90..=99)).unwrap();
        let after = HashTable::new(&policy, &equal_shares(90..=98)).unwrap();
        let random = Random::seeded(5);
        let hashes: Vec<_> = (0..2000).map(|_| random.bits()).collect();
        let moved = hashes.iter().filter(|hash| {
            let was = before.find(**hash, 0, idle);
            was != 9 && was != after.find(**hash, 0, idle)
        });
        let moved = moved.count();
        assert!(moved < 200, "{moved}");
    }
}

#[test]
fn loads_may_be_bounded() {
    let policy = ring_of(1024, Some(125));
    let table = HashTable::new(&policy, &equal_shares(90..=93)).unwrap();
    let free = HashTable::new(&ring_of(1024, None), &equal_shares(90..=93)).unwrap();
    let random = Random::seeded(9);
    for _ in 0..100 {
        let hash = random.bits();
        let first = free.find(hash, 0, idle);
        assert_eq!(table.find(hash, 0, idle), first);
        // Ten of ten requests are at the first, which may have four.
        let busy = |index: Option<u32>| match index {
            None => 10,
            Some(index) if index == first => 10,
            Some(_) => 0,
        };
        let other = table.find(hash, 0, busy);
        assert_ne!(other, first);
        assert_eq!(
            table.find(hash, 0, busy),
            other,
            "the same for the same hash"
        );
    }
}

#[test]
fn slow_start_and_bias_change_weights() {
    let count = |policy: &LbPolicy, active: [u64; 2], ramp: [f64; 2]| {
        let random = Random::seeded(2);
        let mut schedule = Schedule::new(policy, vec![10, 20], &random);
        let mut counts = [0; 2];
        for _ in 0..300 {
            let index = schedule.next(&random, |index| active[index], |index| ramp[index]);
            counts[index.unwrap()] += 1;
        }
        counts
    };
    let round_robin = LbPolicy::ROUND_ROBIN;
    let biased = |active_request_bias| {
        LbPolicy::LeastRequest(LeastRequest {
            active_request_bias,
            ..LeastRequest::default()
        })
    };
    for (policy, active, ramp, expected) in [
        (&round_robin, [0, 0], [1.0, 1.0], 100),
        (&round_robin, [0, 0], [1.0, 0.1], 250),
        (&biased(1.0), [0, 3], [1.0, 1.0], 200),
        (&biased(0.5), [0, 3], [1.0, 1.0], 150),
        (&biased(0.0), [0, 3], [1.0, 1.0], 100),
    ] {
        let counts = count(policy, active, ramp);
        assert!(
            i32::abs(counts[0] - expected) <= 3,
            "{policy:?}: {counts:?}"
        );
    }
}

#[test]
fn a_full_scan_finds_the_least_busy() {
    let policy = LbPolicy::LeastRequest(LeastRequest {
        full_scan: true,
        ..LeastRequest::default()
    });
    let counts = tally(&policy, &[1; 5], 300, &[3, 1, 2, 1, 9]);
    assert_eq!(counts[1] + counts[3], 300);
    assert!(counts[1].abs_diff(150) < 50, "{counts:?}");
}

#[test]
fn tried_priorities_are_left_out_while_there_are_others() {
    let loads = PriorityLoads::new(&hundreds(&[(100, 0), (100, 0)]), panic_below(50.0));
    for (tried, expected) in [(0b01, Some(1)), (0b10, Some(0)), (0b11, None)] {
        let rest = loads.without(tried);
        let priority = rest.map(|rest| rest.choose(|| 50).unwrap().priority);
        assert_eq!(priority, expected);
    }
}
