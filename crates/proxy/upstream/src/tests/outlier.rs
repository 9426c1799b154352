//! Outlier detection in virtual time: what is reported, and what becomes of the hosts.

use std::time::Duration;

use meltemi_ir::{Consecutive, Discovery, FailurePercentage, OutlierDetection, SuccessRate};
use meltemi_lifecycle::WorkerId;

use super::fixture::{Fixture, NAME, assignment, config, endpoint, in_virtual_time};
use crate::outlier::Outcome;
use crate::{HealthFlags, Host, LbContext};

/// Few hosts are enough, and every one may be ejected.
fn settings() -> OutlierDetection {
    OutlierDetection {
        max_ejection_percent: 100,
        success_rate: SuccessRate {
            minimum_hosts: 3,
            request_volume: 10,
            ..OutlierDetection::default().success_rate
        },
        failure_percentage: FailurePercentage {
            minimum_hosts: 3,
            request_volume: 10,
            ..OutlierDetection::default().failure_percentage
        },
        ..OutlierDetection::default()
    }
}

struct Hosts {
    fixture: Fixture,
}

impl Hosts {
    fn new(count: usize, settings: OutlierDetection) -> Self {
        let endpoints = (1..=count)
            .map(|n| endpoint(format!("10.0.0.{n}:80").parse().unwrap()))
            .collect();
        let mut cluster = config(Discovery::Static(assignment(NAME, endpoints)));
        cluster.outlier_detection = Some(Box::new(settings));
        cluster.lb_settings.panic_threshold_percent = 0.0;
        let fixture = Fixture::with(cluster);
        tokio::spawn(fixture.manager.clone().run());
        Self { fixture }
    }

    fn host(&self, index: usize) -> std::sync::Arc<Host> {
        let cluster = self.fixture.cluster();
        let hosts = cluster.hosts();
        hosts.iter().nth(index).unwrap().host.clone()
    }

    /// Reports from both workers in turn, and lets the main runtime act.
    async fn report(&self, index: usize, outcomes: &[(usize, Outcome)]) {
        let mut worker = 0;
        for (times, outcome) in outcomes {
            for _ in 0..*times {
                worker = 1 - worker;
                self.host(index).report(*outcome, WorkerId(worker));
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn ejected(&self) -> Vec<usize> {
        let cluster = self.fixture.cluster();
        let hosts = cluster.hosts();
        let is_ejected = |flags: HealthFlags| flags.intersects(HealthFlags::FAILED_OUTLIER_CHECK);
        (0..)
            .zip(hosts.iter())
            .filter(|(_, entry)| is_ejected(entry.host.flags()))
            .map(|(index, _)| index)
            .collect()
    }

    fn stat(&self, name: &str) -> i64 {
        self.fixture.stat(&format!("outlier_detection.{name}"))
    }
}

#[test]
fn failures_in_a_row_eject() {
    use Outcome::{Answer, Connected, Failed, Timeout};
    type Case = (
        &'static str,
        bool,
        &'static [(usize, Outcome)],
        bool,
        &'static str,
    );
    let gateway = "ejections_enforced_consecutive_gateway_failure";
    let local = "ejections_enforced_consecutive_local_origin_failure";
    let any = "ejections_enforced_consecutive_5xx";
    let cases: [Case; 12] = [
        ("five of 500", false, &[(5, Answer(500))], true, any),
        (
            "four are not enough",
            false,
            &[(4, Answer(500))],
            false,
            any,
        ),
        (
            "a good one between",
            false,
            &[(4, Answer(500)), (1, Answer(404)), (4, Answer(500))],
            false,
            any,
        ),
        (
            "failed connections are 503",
            false,
            &[(5, Failed)],
            true,
            any,
        ),
        (
            "connections made say nothing",
            false,
            &[(3, Failed), (1, Connected), (2, Failed)],
            true,
            any,
        ),
        ("timeouts are 504", false, &[(5, Timeout(None))], true, any),
        (
            "a timeout that was answered otherwise",
            false,
            &[(9, Timeout(Some(204)))],
            false,
            any,
        ),
        (
            "gateway failures",
            false,
            &[(3, Answer(503))],
            true,
            gateway,
        ),
        (
            "500 is no gateway failure",
            false,
            &[(2, Answer(503)), (1, Answer(500)), (1, Answer(502))],
            false,
            gateway,
        ),
        ("apart: connections", true, &[(5, Failed)], true, local),
        (
            "apart: a connection made",
            true,
            &[(4, Failed), (1, Connected), (4, Timeout(Some(504)))],
            false,
            local,
        ),
        (
            "apart: answers do not mix",
            true,
            &[(4, Failed), (4, Answer(500))],
            false,
            any,
        ),
    ];
    for (name, split, outcomes, ejects, stat) in cases {
        in_virtual_time(|| async {
            let mut settings = settings();
            settings.split_local_origin_errors = split;
            if stat == gateway {
                settings.consecutive_gateway_failure = Consecutive {
                    threshold: 3,
                    enforcing: 100,
                };
            }
            let hosts = Hosts::new(3, settings);
            hosts.report(1, outcomes).await;
            let expected: &[usize] = if ejects { &[1] } else { &[] };
            assert_eq!(hosts.ejected(), expected, "{name}");
            assert_eq!(hosts.stat(stat), i64::from(ejects), "{name}");
            assert_eq!(hosts.stat("ejections_active"), i64::from(ejects), "{name}");
        });
    }
}

#[test]
fn an_ejected_host_gets_nothing_and_returns() {
    in_virtual_time(|| async {
        let hosts = Hosts::new(3, settings());
        let gets_traffic = || {
            let cluster = hosts.fixture.cluster();
            let id = hosts.host(0).id();
            (0..30).any(|_| cluster.choose(&LbContext::default()).unwrap().id() == id)
        };
        assert!(gets_traffic());
        // Ejections last 30 s, then 60 s; sweeps are at 10 s, 20 s and so on.
        for (round, seconds, more) in [(0, 29, 2), (1, 59, 11)] {
            hosts.report(0, &[(5, Outcome::Answer(503))]).await;
            assert_eq!(hosts.ejected(), [0], "{round}");
            assert!(!gets_traffic());
            let snapshot = hosts.fixture.cluster().snapshot();
            assert_eq!(snapshot.hosts[0].flags.to_string(), "/failed_outlier_check");
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert_eq!(hosts.ejected(), [0], "{round}");
            tokio::time::sleep(Duration::from_secs(more)).await;
            assert_eq!(hosts.ejected(), [0_usize; 0], "{round}");
            assert!(gets_traffic());
            assert_eq!(hosts.stat("ejections_active"), 0);
        }
        // After a while without failures the next ejection is short again.
        tokio::time::sleep(Duration::from_secs(60)).await;
        hosts.report(0, &[(5, Outcome::Answer(503))]).await;
        tokio::time::sleep(Duration::from_secs(41)).await;
        assert_eq!(hosts.ejected(), [0_usize; 0]);
        assert_eq!(hosts.stat("ejections_enforced_total"), 3);
        assert_eq!(hosts.stat("ejections_total"), 3);
    });
}

#[test]
fn no_more_are_ejected_than_allowed() {
    for (percent, one, ejected, overflow) in [
        (100, false, 4, 0),
        (50, false, 2, 2),
        (10, false, 0, 4),
        (10, true, 1, 3),
    ] {
        in_virtual_time(|| async {
            let hosts = Hosts::new(
                4,
                OutlierDetection {
                    max_ejection_percent: percent,
                    always_eject_one_host: one,
                    ..settings()
                },
            );
            for index in 0..4 {
                hosts.report(index, &[(5, Outcome::Answer(500))]).await;
            }
            assert_eq!(hosts.ejected().len(), ejected, "{percent}");
            assert_eq!(hosts.stat("ejections_overflow"), overflow, "{percent}");
        });
    }
}

#[test]
fn what_is_not_enforced_is_counted_only() {
    in_virtual_time(|| async {
        let mut settings = settings();
        settings.consecutive_5xx.enforcing = 0;
        let hosts = Hosts::new(3, settings);
        hosts.report(0, &[(10, Outcome::Answer(500))]).await;
        assert_eq!(hosts.ejected(), [0_usize; 0]);
        assert_eq!(hosts.stat("ejections_detected_consecutive_5xx"), 1);
        assert_eq!(hosts.stat("ejections_enforced_total"), 0);
    });
}

#[test]
fn success_rates_are_compared() {
    // Good and bad answers of each host, in turns so that none fail in a row.
    type Case = (&'static str, &'static [(usize, usize)], &'static [usize]);
    let cases: [Case; 4] = [
        ("all alike", &[(90, 10); 5], &[]),
        (
            "one far below",
            &[(100, 0), (100, 0), (100, 0), (100, 0), (50, 50)],
            &[4],
        ),
        (
            "too few requests",
            &[(100, 0), (100, 0), (100, 0), (100, 0), (4, 4)],
            &[],
        ),
        ("too few hosts", &[(100, 0), (50, 50), (1, 0)], &[]),
    ];
    for (name, answers, expected) in cases {
        in_virtual_time(|| async {
            let hosts = Hosts::new(answers.len(), settings());
            for (index, (good, bad)) in answers.iter().enumerate() {
                for _ in 0..*bad {
                    hosts.host(index).report(Outcome::Answer(500), WorkerId(0));
                    hosts.host(index).report(Outcome::Answer(200), WorkerId(1));
                }
                for _ in *bad..*good {
                    hosts.host(index).report(Outcome::Answer(200), WorkerId(1));
                }
            }
            tokio::time::sleep(Duration::from_millis(10_001)).await;
            assert_eq!(hosts.ejected(), expected, "{name}");
            let count = i64::try_from(expected.len()).unwrap();
            assert_eq!(
                hosts.stat("ejections_enforced_success_rate"),
                count,
                "{name}"
            );
        });
    }
}

#[test]
fn a_share_of_failures_may_be_too_much() {
    for (threshold, enforcing, expected) in [(50, 100, vec![0]), (51, 100, vec![]), (50, 0, vec![])]
    {
        in_virtual_time(|| async {
            let mut settings = settings();
            settings.success_rate.enforcing = 0;
            settings.failure_percentage.threshold = threshold;
            settings.failure_percentage.enforcing = enforcing;
            let hosts = Hosts::new(3, settings);
            for index in 0..3 {
                for _ in 0..10 {
                    let status = if index == 0 { 500 } else { 200 };
                    hosts
                        .host(index)
                        .report(Outcome::Answer(status), WorkerId(0));
                    hosts.host(index).report(Outcome::Answer(200), WorkerId(1));
                }
            }
            tokio::time::sleep(Duration::from_millis(10_001)).await;
            assert_eq!(hosts.ejected(), expected, "{threshold}");
            let rate = hosts.fixture.cluster().snapshot().hosts[0].success_rate;
            assert_eq!(rate, 50.0);
            // The next interval had no requests.
            tokio::time::sleep(Duration::from_secs(10)).await;
            let rate = hosts.fixture.cluster().snapshot().hosts[0].success_rate;
            assert_eq!(rate, -1.0);
        });
    }
}

#[test]
fn an_ejected_host_that_goes_is_no_longer_counted() {
    in_virtual_time(|| async {
        let mut cluster = config(Discovery::Eds {
            service_name: String::new(),
            source: meltemi_ir::ConfigSource::default(),
        });
        cluster.outlier_detection = Some(Box::new(settings()));
        let fixture = Fixture::with(cluster);
        tokio::spawn(fixture.manager.clone().run());
        let endpoints: Vec<_> = (1..=3)
            .map(|n| endpoint(format!("10.0.0.{n}:80").parse().unwrap()))
            .collect();
        fixture
            .manager
            .apply_endpoints(assignment(NAME, endpoints.clone()));
        let hosts = Hosts { fixture };
        hosts.report(0, &[(5, Outcome::Answer(500))]).await;
        assert_eq!(hosts.stat("ejections_active"), 1);
        let rest = assignment(NAME, endpoints[1..].to_vec());
        hosts.fixture.manager.apply_endpoints(rest);
        assert_eq!(hosts.stat("ejections_active"), 0);
    });
}
