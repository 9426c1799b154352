use std::sync::Arc;
use std::time::Duration;

use meltemi_ir::{Address, Discovery, DnsFamily, HealthStatus, UpstreamTls};

use super::fixture::{Fixture, NAME, assignment, config, endpoint, manager, on_worker, to};
use crate::dns::of_family;
use crate::{ClusterError, ClusterManager, LbContext};

fn eds(service: &str) -> Discovery {
    Discovery::Eds {
        service_name: service.to_owned(),
        source: meltemi_ir::ConfigSource::default(),
    }
}

fn wanted_endpoints(manager: &ClusterManager) -> Vec<String> {
    let wanted = manager.wanted_services().into_iter();
    wanted.map(|(_, name)| name).collect()
}

#[tokio::test]
async fn an_eds_cluster_warms_until_its_endpoints_are_known() {
    let (manager, _) = manager();
    manager.apply(config(eds("service")), true).unwrap();
    assert!(manager.get(NAME).is_none());
    assert_eq!(manager.warming().len(), 1);
    assert_eq!(wanted_endpoints(&manager), ["service"]);
    let address = "10.0.0.1:80".parse().unwrap();
    manager.apply_endpoints(assignment("other", vec![endpoint(address)]));
    assert!(manager.get(NAME).is_none());
    manager.apply_endpoints(assignment("service", vec![endpoint(address)]));
    manager.warmed().await;
    let first = manager.get(NAME).unwrap();

    // The same again is the same.
    manager.apply(config(eds("service")), true).unwrap();
    assert!(Arc::ptr_eq(&first, &manager.get(NAME).unwrap()));

    // Another service is waited for, while the old cluster serves.
    manager.apply(config(eds("slow")), true).unwrap();
    assert!(Arc::ptr_eq(&first, &manager.get(NAME).unwrap()));
    assert_eq!(wanted_endpoints(&manager), ["service", "slow"]);
    manager.apply_endpoints(assignment("slow", Vec::new()));
    let second = manager.get(NAME).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(first.is_retired() && !second.is_retired());

    // A changed cluster whose endpoints are known serves at once.
    let mut changed = config(eds("service"));
    changed.connect_timeout = Duration::from_millis(1);
    manager.apply(changed, true).unwrap();
    let third = manager.get(NAME).unwrap();
    assert_eq!(third.hosts().iter().count(), 1);
    manager.apply_endpoints(assignment("service", Vec::new()));
    assert_eq!(third.hosts().iter().count(), 0);

    manager.remove(NAME);
    assert!(manager.get(NAME).is_none() && third.is_retired());
    assert!(wanted_endpoints(&manager).is_empty());
}

#[tokio::test(start_paused = true)]
async fn warming_ends_after_fifteen_seconds() {
    let (manager, _) = manager();
    let run = tokio::spawn(manager.clone().run());
    let start = tokio::time::Instant::now();
    manager.apply(config(eds("never")), true).unwrap();
    manager.warmed().await;
    assert_eq!(start.elapsed().as_secs(), 15);
    assert_eq!(manager.get(NAME).unwrap().hosts().iter().count(), 0);
    run.abort();
}

#[tokio::test]
async fn names_are_resolved() {
    let (manager, _) = manager();
    let run = tokio::spawn(manager.clone().run());
    let mut by_name = endpoint("127.0.0.1:80".parse().unwrap());
    by_name.address = Address::Name {
        host: "localhost".to_owned(),
        port: 8080,
    };
    let load_assignment = assignment(NAME, vec![by_name]);
    let refresh = Duration::from_secs(5);
    let strict = Discovery::StrictDns {
        load_assignment: load_assignment.clone(),
        family: DnsFamily::V4Only,
        refresh,
    };
    let logical = Discovery::LogicalDns {
        load_assignment,
        family: DnsFamily::V4Only,
        refresh,
    };
    for (discovery, address) in [(strict, "127.0.0.1:8080"), (logical, "localhost:8080")] {
        manager.apply(config(discovery), false).unwrap();
        manager.warmed().await;
        let cluster = manager.get(NAME).unwrap();
        let hosts = cluster.hosts();
        let host = &hosts.iter().next().unwrap().host;
        assert_eq!(host.address().to_string(), address);
        assert_eq!(host.hostname(), "localhost");
        assert_eq!(
            host.socket_address(),
            Some("127.0.0.1:8080".parse().unwrap())
        );
    }
    run.abort();
}

#[tokio::test]
async fn a_name_that_fails_leaves_a_cluster_without_hosts() {
    let (manager, _) = manager();
    let run = tokio::spawn(manager.clone().run());
    let mut nowhere = endpoint("127.0.0.1:80".parse().unwrap());
    nowhere.address = Address::Name {
        host: "no such name.invalid".to_owned(),
        port: 80,
    };
    let discovery = Discovery::StrictDns {
        load_assignment: assignment(NAME, vec![nowhere]),
        family: DnsFamily::Auto,
        refresh: Duration::from_secs(5),
    };
    manager.apply(config(discovery), false).unwrap();
    manager.warmed().await;
    let cluster = manager.get(NAME).unwrap();
    assert_eq!(cluster.hosts().iter().count(), 0);
    let stats = cluster.stats(meltemi_lifecycle::WorkerId::MAIN);
    assert_eq!(stats.update_failure.get(), 1);
    run.abort();
}

#[test]
fn families_are_filtered() {
    let v4 = "10.0.0.1:80".parse().unwrap();
    let v6 = "[fd00::1]:80".parse().unwrap();
    let all = vec![v6, v4, v4];
    for (family, expected) in [
        (DnsFamily::Auto, vec![v6]),
        (DnsFamily::V4Only, vec![v4]),
        (DnsFamily::V6Only, vec![v6]),
        (DnsFamily::V4Preferred, vec![v4]),
        (DnsFamily::All, vec![v6, v4]),
    ] {
        assert_eq!(of_family(all.clone(), family), expected, "{family:?}");
    }
    assert_eq!(of_family(vec![v4], DnsFamily::Auto), [v4]);
    assert_eq!(of_family(vec![v6], DnsFamily::V4Preferred), [v6]);
}

#[test]
fn a_cluster_that_cannot_be_served_is_refused_by_its_field() {
    let (manager, _) = manager();
    let mut settings = to(&[]);
    settings.tls = Some(Box::new(UpstreamTls {
        cipher_suites: vec!["ROT13".to_owned()],
        ..UpstreamTls::default()
    }));
    let error: ClusterError = manager.apply(settings, true).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("transport_socket: "), "{text}");
    assert!(text.contains("ROT13"), "{text}");
    assert!(manager.get(NAME).is_none());
}

#[test]
fn workers_follow_changes() {
    on_worker(|| async {
        let address = "10.0.0.1:80".parse().unwrap();
        let fixture = Fixture::with(to(&[address]));
        let first = fixture.cluster();
        assert!(first.choose(&LbContext::default()).is_some());
        assert!(Arc::ptr_eq(&first, &fixture.cluster()));
        assert_eq!(*first.memo(|cluster| cluster.name().len()), 3);
        fixture
            .manager
            .apply(to(&[address, "10.0.0.2:80".parse().unwrap()]), true)
            .unwrap();
        let second = fixture.cluster();
        assert!(!Arc::ptr_eq(&first, &second));
        fixture.manager.remove(NAME);
        assert!(fixture.pools.cluster(NAME).is_none());
        // Whoever still has it goes on with it.
        assert!(second.choose(&LbContext::default()).is_some());
    });
}

#[test]
fn a_snapshot_tells_what_clusters_prints() {
    let (manager, _) = manager();
    let mut sick = endpoint("10.0.0.1:80".parse().unwrap());
    sick.health = HealthStatus::Draining;
    sick.weight = 7;
    manager
        .apply(
            config(Discovery::Static(assignment(NAME, vec![sick]))),
            false,
        )
        .unwrap();
    let snapshot = manager.get(NAME).unwrap().snapshot();
    assert!(!snapshot.added_via_api);
    assert_eq!(snapshot.circuit_breakers.default.max_connections, 1024);
    let host = &snapshot.hosts[0];
    assert_eq!((host.weight, host.priority, host.cx_active), (7, 0, 0));
    assert_eq!(host.eds_health, HealthStatus::Draining);
}
