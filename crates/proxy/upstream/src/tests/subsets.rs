//! Subsets, consistent hashing and criteria of tries, as a worker sees them.

use std::collections::{BTreeMap, HashSet};

use meltemi_ir::{
    ConsistentHashing, Discovery, LbPolicy, Maglev, Metadata, SubsetFallback, SubsetKeys, SubsetLb,
    SubsetSelector, Value,
};

use super::fixture::{Fixture, NAME, assignment, config, endpoint, on_worker};
use crate::LbContext;

fn keys(pairs: &[(&str, &str)]) -> SubsetKeys {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::String((*value).to_owned())))
        .collect()
}

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    Metadata(BTreeMap::from([("envoy.lb".to_owned(), keys(pairs))]))
}

fn selector(names: &[&str], fallback: Option<SubsetFallback>) -> SubsetSelector {
    SubsetSelector {
        keys: names.iter().map(|name| (*name).to_owned()).collect(),
        single_host: false,
        fallback,
    }
}

/// Hosts 10.0.0.1 and so on with these metadata.
fn cluster(hosts: &[&[(&str, &str)]]) -> meltemi_ir::Cluster {
    let endpoints = hosts
        .iter()
        .enumerate()
        .map(|(at, pairs)| {
            let mut endpoint = endpoint(format!("10.0.0.{}:80", at + 1).parse().unwrap());
            endpoint.metadata = metadata(pairs);
            endpoint
        })
        .collect();
    config(Discovery::Static(assignment(NAME, endpoints)))
}

/// The hosts that may be chosen, by the last part of their addresses.
fn chosen(fixture: &Fixture, context: &LbContext<'_>) -> Vec<u8> {
    let cluster = fixture.cluster();
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let host = cluster.choose(context);
        seen.extend(host.and_then(|host| match host.socket_address()?.ip() {
            std::net::IpAddr::V4(ip) => Some(ip.octets()[3]),
            std::net::IpAddr::V6(_) => None,
        }));
    }
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_unstable();
    seen
}

#[test]
fn criteria_choose_a_subset_or_its_fallback() {
    let hosts: [&[(&str, &str)]; 5] = [
        &[("version", "v1"), ("stage", "prod")],
        &[("version", "v1"), ("stage", "dev")],
        &[("version", "v2"), ("stage", "prod")],
        &[("stage", "prod")],
        &[],
    ];
    type Case = (
        &'static str,
        SubsetFallback,
        &'static [(&'static str, &'static str)],
        &'static [u8],
        &'static str,
    );
    use SubsetFallback::{Any, Default, None};
    let selected = "lb_subsets_selected";
    let fallback = "lb_subsets_fallback";
    let cases: [Case; 9] = [
        ("one key", None, &[("version", "v1")], &[1, 2], selected),
        (
            "two keys",
            None,
            &[("version", "v1"), ("stage", "dev")],
            &[2],
            selected,
        ),
        ("no such value", None, &[("version", "v9")], &[], selected),
        (
            "or any",
            Any,
            &[("version", "v9")],
            &[1, 2, 3, 4, 5],
            fallback,
        ),
        (
            "or the default",
            Default,
            &[("version", "v9")],
            &[1, 3, 4],
            fallback,
        ),
        (
            "no such selector",
            Default,
            &[("stage", "dev")],
            &[1, 3, 4],
            fallback,
        ),
        ("no criteria", Any, &[], &[1, 2, 3, 4, 5], fallback),
        (
            "the selector's own fallback",
            None,
            &[("stage", "x"), ("zone", "a")],
            &[1, 2, 3, 4, 5],
            fallback,
        ),
        (
            "fewer keys",
            None,
            &[("version", "v2"), ("zone", "a")],
            &[3],
            selected,
        ),
    ];
    for (name, fallback, criteria, expected, stat) in cases {
        on_worker(|| async {
            let mut settings = cluster(&hosts);
            settings.subsets = Some(Box::new(SubsetLb {
                fallback,
                default_subset: keys(&[("stage", "prod")]),
                selectors: vec![
                    selector(&["version"], Option::None),
                    selector(&["stage", "version"], Option::None),
                    selector(&["stage", "zone"], Some(Any)),
                    selector(
                        &["version", "zone"],
                        Some(SubsetFallback::Keys(vec!["version".to_owned()])),
                    ),
                ],
                locality_weight_aware: false,
                scale_locality_weight: false,
                panic_mode_any: false,
                list_as_any: false,
            }));
            let fixture = Fixture::with(settings);
            let criteria = keys(criteria);
            let context = LbContext {
                metadata_match: Some(&criteria),
                ..LbContext::default()
            };
            assert_eq!(chosen(&fixture, &context), expected, "{name}");
            assert_eq!(fixture.stat(stat) > 0, !expected.is_empty(), "{name}");
            // v1 and v2; three pairs of stage and version.
            assert_eq!(fixture.stat("lb_subsets_active"), 5, "{name}");
        });
    }
}

#[test]
fn the_same_hash_finds_the_same_host_in_every_worker() {
    on_worker(|| async {
        let nothing: &[(&str, &str)] = &[];
        let mut settings = cluster(&[nothing; 9]);
        settings.lb = LbPolicy::Maglev(Maglev {
            table_size: 65537,
            hashing: ConsistentHashing::default(),
        });
        let fixture = Fixture::with(settings);
        let other = crate::Pools::new(fixture.manager.clone(), meltemi_lifecycle::WorkerId(1));
        let mut all = HashSet::new();
        for number in 0..200_u64 {
            let context = LbContext {
                hash: Some(crate::xx_hash(&number.to_le_bytes(), 0)),
                ..LbContext::default()
            };
            let host = fixture.cluster().choose(&context).unwrap();
            let same = other.cluster(NAME).unwrap().choose(&context).unwrap();
            assert_eq!(host.id(), same.id());
            all.insert(host.id());
        }
        assert_eq!(all.len(), 9);
        assert_eq!(chosen(&fixture, &LbContext::default()).len(), 9);
        assert_eq!(fixture.stat("maglev_lb.min_entries_per_host"), 7281);
    });
}

#[test]
fn tries_avoid_canaries_and_metadata() {
    on_worker(|| async {
        let mut settings = cluster(&[&[], &[("color", "blue")], &[("color", "green")]]);
        if let Discovery::Static(assignment) = &mut settings.discovery {
            let canary = BTreeMap::from([("canary".to_owned(), Value::Bool(true))]);
            assignment.localities[0].endpoints[0].metadata =
                Metadata(BTreeMap::from([("envoy.lb".to_owned(), canary)]));
        }
        let fixture = Fixture::with(settings);
        let unwanted = [metadata(&[("color", "blue")])];
        for (canaries, unwanted, expected) in [
            (false, &[][..], vec![1, 2, 3]),
            (true, &[][..], vec![2, 3]),
            (true, &unwanted[..], vec![3]),
        ] {
            let context = LbContext {
                avoid_canaries: canaries,
                avoid_metadata: unwanted,
                max_attempts: 9,
                ..LbContext::default()
            };
            assert_eq!(chosen(&fixture, &context), expected);
        }
    });
}
