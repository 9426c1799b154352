//! One host's checks: when the next is, and what its verdict means.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use meltemi_ir::HealthCheck;
use meltemi_lifecycle::{Random, WorkerId};

use super::{Verdict, check, jitter};
use crate::{Cluster, HealthFlags, Host, outlier};

/// The checks of one host.
#[derive(Debug)]
pub(super) struct Session {
    host: Arc<Host>,
    settings: Arc<HealthCheck>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    first: bool,
    healthy: u32,
    unhealthy: u32,
}

/// What a verdict does to a host's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// It will change if the next verdicts are the same.
    Pending,
    Changed,
}

impl Session {
    pub(super) fn new(host: Arc<Host>, settings: Arc<HealthCheck>) -> Self {
        Self {
            host,
            settings,
            counts: Mutex::new(Counts {
                first: true,
                healthy: 0,
                unhealthy: 0,
            }),
        }
    }

    /// Checks until the cluster is gone.
    pub(super) async fn run(
        self: Arc<Self>,
        cluster: Weak<Cluster>,
        random: Random,
        settled: impl Fn(&Arc<Cluster>),
    ) {
        let mut kept = None;
        tokio::time::sleep(jitter(&random, self.settings.initial_jitter)).await;
        loop {
            let Some(current) = cluster.upgrade().filter(|cluster| !cluster.is_retired()) else {
                return;
            };
            let stats = current.stats(WorkerId::MAIN).health_check.get();
            stats.attempt.inc();
            let asked = check(&current, &self.host, &self.settings, &mut kept);
            let verdict = match tokio::time::timeout(self.settings.timeout, asked).await {
                Ok(verdict) => verdict,
                Err(_) => Verdict::Timeout,
            };
            let broke = matches!(verdict, Verdict::Network | Verdict::Timeout);
            if !self.settings.reuse_connection || broke {
                kept = None;
            }
            let pause = self.take(&current, verdict, &random);
            settled(&current);
            drop(current);
            tokio::time::sleep(pause).await;
        }
    }

    /// Does what a verdict asks for. Returns how long to wait before the next check.
    pub(super) fn take(&self, cluster: &Cluster, verdict: Verdict, random: &Random) -> Duration {
        let is_healthy = matches!(verdict, Verdict::Healthy { .. });
        let was = self.host.flags();
        let change = match verdict {
            Verdict::Healthy { degraded, excluded } => self.succeeded(degraded, excluded),
            failed => self.failed(cluster, failed),
        };
        let stats = cluster.stats(WorkerId::MAIN).health_check.get();
        if is_healthy {
            stats.success.inc();
            if !self.host.flags().intersects(HealthFlags::FAILED_ACTIVE_HC) {
                outlier::health_check_passed(cluster, &self.host, random);
            }
        }
        if was != self.host.flags() {
            tracing::info!(
                cluster = cluster.name(),
                host = %self.host.address(),
                health = %self.host.flags(),
                "health check"
            );
            cluster.checks_changed();
        }
        self.pause(cluster, is_healthy, change, random)
    }

    fn succeeded(&self, degraded: bool, excluded: bool) -> Change {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.unhealthy = 0;
        let mut change = Change::None;
        let host = &self.host;
        if host.flags().intersects(HealthFlags::FAILED_ACTIVE_HC) {
            counts.healthy += 1;
            // The first check decides alone, so that a start is quick.
            if counts.first || counts.healthy >= self.settings.healthy_threshold {
                let gone = HealthFlags::FAILED_ACTIVE_HC | HealthFlags::ACTIVE_HC_TIMEOUT;
                host.change_flags(HealthFlags::NONE, gone);
                change = Change::Changed;
            } else {
                change = Change::Pending;
            }
        }
        counts.first = false;
        let (mut add, mut remove) = (HealthFlags::NONE, HealthFlags::PENDING_ACTIVE_HC);
        for (is_set, flag) in [
            (degraded, HealthFlags::DEGRADED_ACTIVE_HC),
            (excluded, HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
        ] {
            if is_set {
                add = add | flag;
            } else {
                remove = remove | flag;
            }
        }
        if host.change_flags(add, remove) && change == Change::None {
            change = Change::Changed;
        }
        change
    }

    fn failed(&self, cluster: &Cluster, verdict: Verdict) -> Change {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.healthy = 0;
        let (is_final, excluded) = match verdict {
            Verdict::Failed {
                retriable,
                excluded,
            } => (!retriable, excluded),
            Verdict::Passive => (true, true),
            Verdict::Network | Verdict::Timeout | Verdict::Healthy { .. } => (false, false),
        };
        let host = &self.host;
        let mut change = Change::None;
        let timed_out = verdict == Verdict::Timeout;
        if host.flags().intersects(HealthFlags::FAILED_ACTIVE_HC) {
            let timeout = HealthFlags::ACTIVE_HC_TIMEOUT;
            if timed_out {
                host.change_flags(timeout, HealthFlags::NONE);
            } else {
                host.change_flags(HealthFlags::NONE, timeout);
            }
        } else {
            counts.unhealthy += 1;
            if is_final || counts.unhealthy >= self.settings.unhealthy_threshold {
                let mut add = HealthFlags::FAILED_ACTIVE_HC;
                if timed_out {
                    add = add | HealthFlags::ACTIVE_HC_TIMEOUT;
                }
                host.change_flags(add, HealthFlags::NONE);
                change = Change::Changed;
            } else {
                change = Change::Pending;
            }
        }
        counts.first = false;
        let exclude = HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL;
        if excluded {
            host.change_flags(exclude, HealthFlags::PENDING_ACTIVE_HC);
        } else {
            host.change_flags(HealthFlags::NONE, HealthFlags::PENDING_ACTIVE_HC);
        }
        let stats = cluster.stats(WorkerId::MAIN).health_check.get();
        stats.failure.inc();
        match verdict {
            Verdict::Network | Verdict::Timeout => stats.network_failure.inc(),
            Verdict::Passive => stats.passive_failure.inc(),
            Verdict::Failed { .. } | Verdict::Healthy { .. } => {}
        }
        change
    }

    fn pause(
        &self,
        cluster: &Cluster,
        is_healthy: bool,
        change: Change,
        random: &Random,
    ) -> Duration {
        let settings = &self.settings;
        let unhealthy = settings.unhealthy_interval.unwrap_or(settings.interval);
        let is_pending = change == Change::Pending;
        let mut pause = if !cluster.had_connections() {
            settings
                .no_traffic_healthy_interval
                .filter(|_| is_healthy)
                .unwrap_or(settings.no_traffic_interval)
        } else if is_healthy && is_pending {
            settings.healthy_edge_interval.unwrap_or(settings.interval)
        } else if is_healthy {
            settings.interval
        } else if is_pending {
            settings.unhealthy_edge_interval.unwrap_or(unhealthy)
        } else {
            unhealthy
        };
        let percent = settings.interval_jitter_percent;
        pause += jitter(random, pause * percent / 100);
        pause + jitter(random, settings.interval_jitter)
    }
}
