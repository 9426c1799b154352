use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir::{Discovery, HealthStatus, LbPolicy, LoadAssignment, Locality, LocalityEndpoints};

use super::fixture::{Fixture, NAME, assignment, config, endpoint, on_worker};
use crate::{HostHealth, LbContext, WorkerHost};

fn eds() -> Discovery {
    Discovery::Eds {
        service_name: String::new(),
        source: meltemi_ir::ConfigSource::default(),
    }
}

fn address(host: &WorkerHost) -> String {
    host.address().to_string()
}

#[test]
fn hosts_keep_their_identity_over_updates() {
    on_worker(|| async {
        let fixture = Fixture::with(config(eds()));
        let mut first = endpoint("10.0.0.1:80".parse().unwrap());
        let second = endpoint("10.0.0.2:80".parse().unwrap());
        let both = vec![first.clone(), second.clone()];
        fixture.manager.apply_endpoints(assignment(NAME, both));
        let cluster = fixture.cluster();
        let ids = || -> HashMap<String, u64> {
            let hosts = cluster.hosts();
            let pair =
                |entry: &crate::HostEntry| (entry.host.address().to_string(), entry.host.id());
            hosts.iter().map(pair).collect()
        };
        let before = ids();
        let mut handles: Vec<Rc<WorkerHost>> = Vec::new();
        for _ in 0..2 {
            handles.push(cluster.choose(&LbContext::default()).unwrap());
        }
        let memo = |host: &WorkerHost| host.memo(|host| host.attributes().weight);
        assert_eq!(*memo(&handles[0]), 1);

        first.weight = 9;
        let third = endpoint("10.0.0.3:80".parse().unwrap());
        fixture
            .manager
            .apply_endpoints(assignment(NAME, vec![first, third]));
        let after = ids();
        assert_eq!(before["10.0.0.1:80"], after["10.0.0.1:80"]);
        assert!(!after.contains_key("10.0.0.2:80"));
        let mut counts: HashMap<String, usize> = HashMap::new();
        for _ in 0..100 {
            let host = cluster.choose(&LbContext::default()).unwrap();
            *counts.entry(address(&host)).or_default() += 1;
            if let Some(kept) = handles.iter().find(|kept| kept.id() == host.id()) {
                assert!(Rc::ptr_eq(kept, &host), "the same pools");
                assert_eq!(*memo(&host), 9, "the memo follows the attributes");
            }
        }
        assert!(counts["10.0.0.1:80"].abs_diff(90) <= 1, "{counts:?}");
        let stats = crate::Cluster::stats(&cluster, meltemi_lifecycle::WorkerId::MAIN);
        assert_eq!(stats.membership_total.get(), 2);
        assert_eq!(stats.membership_change.get(), 2);
    });
}

#[test]
fn tried_hosts_are_avoided_as_often_as_allowed() {
    on_worker(|| async {
        let endpoints = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]
            .map(|address| endpoint(address.parse().unwrap()));
        let mut settings = config(Discovery::Static(assignment(NAME, endpoints.to_vec())));
        settings.lb = LbPolicy::ROUND_ROBIN;
        let fixture = Fixture::with(settings);
        let cluster = fixture.cluster();
        for _ in 0..10 {
            let first = cluster.choose(&LbContext::default()).unwrap();
            let second = cluster.choose(&LbContext::default()).unwrap();
            let avoid = [first.id(), second.id()];
            let context = |max_attempts| LbContext {
                avoid: &avoid,
                max_attempts,
                ..LbContext::default()
            };
            let third = cluster.choose(&context(5)).unwrap();
            assert!(!avoid.contains(&third.id()));
            // Next in turn is `first`; without another attempt it is taken.
            let tried = cluster.choose(&context(0)).unwrap();
            assert_eq!(tried.id(), first.id());
        }
    });
}

#[test]
fn unhealthy_hosts_get_traffic_in_panic_only() {
    on_worker(|| async {
        let health = [
            HealthStatus::Healthy,
            HealthStatus::Unhealthy,
            HealthStatus::Draining,
            HealthStatus::Degraded,
        ];
        let endpoints = |healthy: usize| {
            let mut endpoints: Vec<_> = (1..=4)
                .map(|n| endpoint(format!("10.0.0.{n}:80").parse().unwrap()))
                .collect();
            for (endpoint, health) in endpoints.iter_mut().zip(health).skip(healthy) {
                endpoint.health = health;
            }
            assignment(NAME, endpoints)
        };
        let fixture = Fixture::with(config(eds()));
        for (healthy, expected) in [(4, 4), (3, 3), (0, 1)] {
            fixture.manager.apply_endpoints(endpoints(healthy));
            let cluster = fixture.cluster();
            let seen: std::collections::HashSet<_> = (0..200)
                .map(|_| cluster.choose(&LbContext::default()).unwrap().id())
                .collect();
            // Half available is no panic: the healthy one takes 35 of 70, the degraded one too.
            let expected = if healthy == 0 { 2 } else { expected };
            assert_eq!(seen.len(), expected, "{healthy} healthy");
        }
        assert_eq!(fixture.cluster().stats().lb_healthy_panic.get(), 0);
        let mut all = endpoints(0);
        for endpoint in &mut all.localities[0].endpoints {
            endpoint.health = HealthStatus::Unhealthy;
        }
        fixture.manager.apply_endpoints(all);
        let cluster = fixture.cluster();
        assert_eq!(
            cluster.choose(&LbContext::default()).unwrap().health(),
            HostHealth::Unhealthy
        );
        assert_eq!(cluster.stats().lb_healthy_panic.get(), 1);
        fixture
            .manager
            .apply_endpoints(assignment(NAME, Vec::new()));
        assert!(cluster.choose(&LbContext::default()).is_none());
    });
}

#[test]
fn localities_may_be_weighted() {
    on_worker(|| async {
        let mut settings = config(eds());
        settings.lb_settings.locality_weighted = true;
        let fixture = Fixture::with(settings);
        let zone = |zone: &str, weight, count: u8, healthy: u8| LocalityEndpoints {
            locality: Locality {
                zone: zone.to_owned(),
                ..Locality::default()
            },
            priority: 0,
            weight,
            endpoints: (1..=count)
                .map(|n| {
                    let address = format!("10.0.{}.{n}:80", zone.len());
                    let mut endpoint = endpoint(address.parse().unwrap());
                    if n > healthy {
                        endpoint.health = HealthStatus::Unhealthy;
                    }
                    endpoint
                })
                .collect(),
        };
        // By weight and not by size; without a weight there is no load; of a zone with half
        // its hosts 70 percent of its weight is left.
        for (localities, expected) in [
            (
                vec![zone("a", Some(3), 1, 1), zone("bb", Some(1), 9, 9)],
                [75, 25],
            ),
            (
                vec![zone("a", Some(1), 1, 1), zone("bb", None, 9, 9)],
                [100, 0],
            ),
            (
                vec![zone("a", Some(1), 2, 1), zone("bb", Some(1), 9, 9)],
                [41, 59],
            ),
            (
                vec![zone("a", None, 1, 1), zone("bb", None, 3, 3)],
                [25, 75],
            ),
        ] {
            fixture.manager.apply_endpoints(LoadAssignment {
                cluster_name: NAME.to_owned(),
                localities,
                ..LoadAssignment::default()
            });
            let cluster = fixture.cluster();
            let mut counts = [0_usize; 2];
            for _ in 0..100 {
                let host = cluster.choose(&LbContext::default()).unwrap();
                counts[host.locality().zone.len() - 1] += 1;
            }
            assert!(
                counts[0].abs_diff(expected[0]) <= 1,
                "{counts:?}, not {expected:?}"
            );
        }
    });
}

#[test]
fn original_destinations_are_hosts_of_their_own() {
    on_worker(|| async {
        let mut settings = config(Discovery::OriginalDst {
            http_header: Some(HeaderName::from_static("x-envoy-original-dst-host")),
            port_override: Some(8080),
        });
        settings.lb = LbPolicy::ClusterProvided;
        let fixture = Fixture::with(settings);
        let cluster = fixture.cluster();
        assert!(cluster.choose(&LbContext::default()).is_none());
        let mut context = LbContext {
            original_destination: Some("10.1.1.1:9000".parse().unwrap()),
            ..LbContext::default()
        };
        let host = cluster.choose(&context).unwrap();
        assert_eq!(address(&host), "10.1.1.1:8080");
        assert!(Rc::ptr_eq(&host, &cluster.choose(&context).unwrap()));
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-envoy-original-dst-host",
            HeaderValue::from_static("10.2.2.2:1"),
        );
        context.headers = Some(&headers);
        assert_eq!(address(&cluster.choose(&context).unwrap()), "10.2.2.2:8080");
        assert_eq!(cluster.snapshot().hosts.len(), 2);
        let shared: &Arc<crate::Host> = &host;
        assert!(Arc::strong_count(shared) >= 2);
    });
}
