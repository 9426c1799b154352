//! Outlier detection: hosts that fail are taken out of balancing for a while.
//!
//! Workers report what became of requests to the host's [`Monitor`], which counts with
//! atomics; one whose count reaches a threshold tells the cluster's [`Detector`] on the main
//! runtime. That ejects, looks over all hosts once in an interval, and lets them return.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use meltemi_ir::{Consecutive, OutlierDetection};
use meltemi_lifecycle::{Random, WorkerId};
use meltemi_telemetry::{Counter, OutlierStats};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::host::{HostStats, RateStats};
use crate::{Cluster, HealthFlags, Host};

/// What became of a request or of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host answered with this status (for gRPC the HTTP status that it stands for).
    Answer(u16),
    /// A connection was made; what is spoken on it is reported apart.
    Connected,
    /// A connection was made, and that is all there is to tell (TCP).
    ConnectedFinally,
    /// No answer or connection in time; with the status that the client was given, if any.
    Timeout(Option<u16>),
    /// The connection failed, or broke off before an answer.
    Failed,
}

/// Why a host is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    SuccessRateLocalOrigin,
    FailurePercentage,
    FailurePercentageLocalOrigin,
}

/// A host that failed too often.
type Report = (Weak<Host>, Cause);

/// What is counted of a host, and what became of it.
#[derive(Debug)]
pub(crate) struct Monitor {
    settings: Arc<OutlierDetection>,
    report: mpsc::UnboundedSender<Report>,
    in_a_row_5xx: AtomicU32,
    in_a_row_gateway: AtomicU32,
    in_a_row_local: AtomicU32,
    pub(crate) answers: Rate,
    pub(crate) connections: Rate,
    /// The main thread's.
    ejection: Mutex<Ejection>,
}

/// A success rate by interval.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The last interval's, in percent; what `/clusters` shows.
    percent: AtomicU64,
    /// Totals at the end of the last interval.
    seen_total: AtomicU64,
    seen_success: AtomicU64,
}

#[derive(Debug, Default)]
struct Ejection {
    ejected: Option<Instant>,
    returned: Option<Instant>,
    /// How many base times an ejection lasts.
    backoff: u32,
    jitter: Duration,
}

/// A cluster's outlier detection.
#[derive(Debug)]
pub(crate) struct Detector {
    settings: Arc<OutlierDetection>,
    report: mpsc::UnboundedSender<Report>,
    reported: Mutex<Option<mpsc::UnboundedReceiver<Report>>>,
}

impl Rate {
    fn new() -> Self {
        Self {
            percent: AtomicU64::new((-1.0_f64).to_bits()),
            seen_total: AtomicU64::new(0),
            seen_success: AtomicU64::new(0),
        }
    }

    pub(crate) fn success_rate(&self) -> f64 {
        f64::from_bits(self.percent.load(Ordering::Relaxed))
    }

    fn set(&self, percent: f64) {
        self.percent.store(percent.to_bits(), Ordering::Relaxed);
    }

    /// Ends an interval: its success rate in percent and its volume, if it had any.
    fn close(&self, host: &Host, of: fn(&HostStats) -> &RateStats) -> Option<(f64, u64)> {
        let sum = |counter: fn(&RateStats) -> &Counter| -> u64 {
            host.all_stats().map(|shard| counter(of(shard)).get()).sum()
        };
        let total = sum(|rate| &rate.total);
        let success = sum(|rate| &rate.success);
        let volume = total.saturating_sub(self.seen_total.swap(total, Ordering::Relaxed));
        let good = success.saturating_sub(self.seen_success.swap(success, Ordering::Relaxed));
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        (volume > 0).then(|| (good as f64 * 100.0 / volume as f64, volume))
    }
}

impl Monitor {
    /// Counts an outcome, and reports the host where that was one failure too many.
    pub(crate) fn report(&self, host: &Arc<Host>, outcome: Outcome, worker: WorkerId) {
        if !self.settings.split_local_origin_errors {
            return match outcome {
                Outcome::Answer(status) | Outcome::Timeout(Some(status)) => {
                    self.answer(host, status, worker);
                }
                Outcome::ConnectedFinally => self.answer(host, 200, worker),
                Outcome::Timeout(None) => self.answer(host, 504, worker),
                Outcome::Failed => self.answer(host, 503, worker),
                // What is spoken on the connection decides.
                Outcome::Connected => {}
            };
        }
        match outcome {
            Outcome::Answer(status) => self.answer(host, status, worker),
            Outcome::Connected | Outcome::ConnectedFinally => {
                let rate = &host.stats(worker).connections;
                rate.total.inc();
                rate.success.inc();
                clear(&self.in_a_row_local);
            }
            Outcome::Timeout(_) | Outcome::Failed => {
                host.stats(worker).connections.total.inc();
                self.failed(
                    host,
                    &self.in_a_row_local,
                    self.settings.consecutive_local_origin_failure,
                    Cause::ConsecutiveLocalOriginFailure,
                );
            }
        }
    }

    fn answer(&self, host: &Arc<Host>, status: u16, worker: WorkerId) {
        let rate = &host.stats(worker).answers;
        rate.total.inc();
        if !(500..600).contains(&status) {
            rate.success.inc();
            clear(&self.in_a_row_5xx);
            clear(&self.in_a_row_gateway);
            return;
        }
        if (502..=504).contains(&status) {
            self.failed(
                host,
                &self.in_a_row_gateway,
                self.settings.consecutive_gateway_failure,
                Cause::ConsecutiveGatewayFailure,
            );
        } else {
            clear(&self.in_a_row_gateway);
        }
        self.failed(
            host,
            &self.in_a_row_5xx,
            self.settings.consecutive_5xx,
            Cause::Consecutive5xx,
        );
    }

    fn failed(&self, host: &Arc<Host>, count: &AtomicU32, limit: Consecutive, cause: Cause) {
        let in_a_row = count.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if in_a_row == limit.threshold {
            // Once the detector is gone nobody is ejected any more.
            let _ = self.report.send((Arc::downgrade(host), cause));
        }
    }

    fn count_of(&self, cause: Cause) -> Option<&AtomicU32> {
        match cause {
            Cause::Consecutive5xx => Some(&self.in_a_row_5xx),
            Cause::ConsecutiveGatewayFailure => Some(&self.in_a_row_gateway),
            Cause::ConsecutiveLocalOriginFailure => Some(&self.in_a_row_local),
            Cause::SuccessRate
            | Cause::SuccessRateLocalOrigin
            | Cause::FailurePercentage
            | Cause::FailurePercentageLocalOrigin => None,
        }
    }

    fn ejection(&self) -> std::sync::MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is written where there is nothing to clear, so that success costs workers nothing.
#[inline]
fn clear(count: &AtomicU32) {
    if count.load(Ordering::Relaxed) != 0 {
        count.store(0, Ordering::Relaxed);
    }
}

impl Detector {
    pub(crate) fn new(settings: OutlierDetection) -> Self {
        let (report, reported) = mpsc::unbounded_channel();
        Self {
            settings: Arc::new(settings),
            report,
            reported: Mutex::new(Some(reported)),
        }
    }

    /// The monitor of a new host.
    pub(crate) fn monitor(&self) -> Monitor {
        Monitor {
            settings: self.settings.clone(),
            report: self.report.clone(),
            in_a_row_5xx: AtomicU32::new(0),
            in_a_row_gateway: AtomicU32::new(0),
            in_a_row_local: AtomicU32::new(0),
            answers: Rate::new(),
            connections: Rate::new(),
            ejection: Mutex::default(),
        }
    }

    fn take_reported(&self) -> Option<mpsc::UnboundedReceiver<Report>> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.take()
    }
}

/// Ejects hosts and lets them return, until the cluster is retired. For the main runtime.
pub(crate) async fn watch(cluster: Weak<Cluster>, random: Random) {
    let Some((interval, mut reported)) = cluster.upgrade().and_then(|cluster| {
        let detector = cluster.detector()?;
        Some((detector.settings.interval, detector.take_reported()?))
    }) else {
        return;
    };
    let mut next = Instant::now() + interval;
    loop {
        let report = tokio::select! {
            report = reported.recv() => report,
            () = tokio::time::sleep_until(next) => None,
        };
        let Some(cluster) = cluster.upgrade().filter(|cluster| !cluster.is_retired()) else {
            return;
        };
        let Some(sweep) = Sweep::new(&cluster, &random) else {
            return;
        };
        match report {
            Some((host, cause)) => {
                if let Some(host) = host.upgrade() {
                    sweep.too_many_in_a_row(&host, cause);
                }
            }
            None => {
                next = Instant::now() + interval;
                sweep.look_over();
            }
        }
    }
}

/// A health check went well: its host's ejection ends.
pub(crate) fn health_check_passed(cluster: &Cluster, host: &Host, random: &Random) {
    if let Some(sweep) = Sweep::new(cluster, random)
        && sweep.settings.health_check_ends_ejection
        && is_ejected(host)
    {
        sweep.give_back(host);
    }
}

fn is_ejected(host: &Host) -> bool {
    host.flags().intersects(HealthFlags::FAILED_OUTLIER_CHECK)
}

/// A round of decisions.
struct Sweep<'a> {
    cluster: &'a Cluster,
    settings: &'a OutlierDetection,
    stats: &'a OutlierStats,
    random: &'a Random,
    now: Instant,
}

impl<'a> Sweep<'a> {
    fn new(cluster: &'a Cluster, random: &'a Random) -> Option<Self> {
        Some(Self {
            settings: &cluster.detector()?.settings,
            stats: cluster.stats(WorkerId::MAIN).outlier_detection.get(),
            cluster,
            random,
            now: Instant::now(),
        })
    }

    fn hosts(&self) -> Vec<Arc<Host>> {
        let set = self.cluster.hosts();
        set.iter().map(|entry| entry.host.clone()).collect()
    }

    fn too_many_in_a_row(&self, host: &Arc<Host>, cause: Cause) {
        let is_member = self.hosts().iter().any(|other| Arc::ptr_eq(other, host));
        let Some(monitor) = host.monitor().filter(|_| is_member && !is_ejected(host)) else {
            return;
        };
        self.detected(cause);
        self.eject(host, cause);
        if cause == Cause::Consecutive5xx {
            self.stats.ejections_consecutive_5xx.inc();
        }
        if let Some(count) = monitor.count_of(cause) {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn look_over(&self) {
        let hosts = self.hosts();
        for host in &hosts {
            self.return_if_due(host);
        }
        self.compare(&hosts, false);
        self.compare(&hosts, true);
        for monitor in hosts
            .iter()
            .filter(|host| !is_ejected(host))
            .filter_map(|host| host.monitor())
        {
            let mut ejection = monitor.ejection();
            let quiet = ejection
                .returned
                .is_some_and(|returned| self.now - returned >= self.settings.interval);
            if quiet {
                ejection.backoff = ejection.backoff.saturating_sub(1);
            }
        }
    }

    fn return_if_due(&self, host: &Host) {
        let Some(monitor) = host.monitor().filter(|_| is_ejected(host)) else {
            return;
        };
        let due = {
            let ejection = monitor.ejection();
            let lasts = (self.settings.base_ejection_time * ejection.backoff)
                .min(self.settings.max_ejection_time)
                + ejection.jitter;
            ejection
                .ejected
                .is_none_or(|ejected| self.now - ejected >= lasts)
        };
        if due {
            self.give_back(host);
        }
    }

    fn give_back(&self, host: &Host) {
        self.stats.ejections_active.dec();
        host.change_flags(HealthFlags::NONE, HealthFlags::FAILED_OUTLIER_CHECK);
        if let Some(monitor) = host.monitor() {
            for count in [
                &monitor.in_a_row_5xx,
                &monitor.in_a_row_gateway,
                &monitor.in_a_row_local,
            ] {
                count.store(0, Ordering::Relaxed);
            }
            monitor.ejection().returned = Some(self.now);
        }
        self.cluster.health_changed();
    }

    fn eject(&self, host: &Host, cause: Cause) {
        let active = u64::try_from(self.stats.ejections_active.get()).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a count of hosts")]
        let percent = 100.0 * (active + 1) as f64 / self.cluster.hosts().iter().count() as f64;
        let fits = percent <= f64::from(self.settings.max_ejection_percent.min(100))
            || (self.settings.always_eject_one_host && active == 0);
        if !fits {
            self.stats.ejections_overflow.inc();
            return;
        }
        if matches!(cause, Cause::Consecutive5xx | Cause::SuccessRate) {
            self.stats.ejections_total.inc();
        }
        if self.random.below(100) >= u64::from(self.enforcing(cause)) {
            return;
        }
        let Some(monitor) = host.monitor() else {
            return;
        };
        self.stats.ejections_active.inc();
        self.enforced(cause);
        host.change_flags(HealthFlags::FAILED_OUTLIER_CHECK, HealthFlags::NONE);
        let OutlierDetection {
            base_ejection_time: base,
            max_ejection_time: max,
            max_ejection_time_jitter: jitter,
            ..
        } = *self.settings;
        {
            let mut ejection = monitor.ejection();
            ejection.ejected = Some(self.now);
            let jitter = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX - 1);
            ejection.jitter = Duration::from_millis(self.random.below(jitter + 1));
            if base * ejection.backoff < max + base {
                ejection.backoff += 1;
            }
        }
        self.cluster.health_changed();
    }

    /// Compares the hosts' success rates, of answers or of connections.
    fn compare(&self, hosts: &[Arc<Host>], local: bool) {
        let rates = self.settings.success_rate;
        let failures = self.settings.failure_percentage;
        let mut by_rate = Vec::new();
        let mut by_failures = Vec::new();
        let enough = |least: u32| hosts.len() >= least as usize;
        let looks = enough(rates.minimum_hosts) || enough(failures.minimum_hosts);
        for host in hosts {
            let Some(monitor) = host.monitor() else {
                continue;
            };
            let (rate, of): (_, fn(&HostStats) -> &RateStats) = if local {
                (&monitor.connections, |stats| &stats.connections)
            } else {
                (&monitor.answers, |stats| &stats.answers)
            };
            rate.set(-1.0);
            let closed = rate.close(host, of);
            let Some((percent, volume)) = closed.filter(|_| looks && !is_ejected(host)) else {
                continue;
            };
            let is_enough = |least: u32| volume >= u64::from(least);
            if is_enough(rates.request_volume.min(failures.request_volume)) {
                rate.set(percent);
            }
            if is_enough(rates.request_volume) {
                by_rate.push((host, percent));
            }
            if is_enough(failures.request_volume) {
                by_failures.push((host, percent));
            }
        }
        if !by_rate.is_empty() && by_rate.len() >= rates.minimum_hosts as usize {
            let cause = if local {
                Cause::SuccessRateLocalOrigin
            } else {
                Cause::SuccessRate
            };
            let percents: Vec<_> = by_rate.iter().map(|(_, percent)| *percent).collect();
            let threshold = least_success_rate(&percents, rates.stdev_factor);
            for (host, _) in by_rate.iter().filter(|(_, percent)| *percent < threshold) {
                self.stats.ejections_success_rate.inc();
                self.detected(cause);
                self.eject(host, cause);
            }
        }
        if !by_failures.is_empty() && by_failures.len() >= failures.minimum_hosts as usize {
            let cause = if local {
                Cause::FailurePercentageLocalOrigin
            } else {
                Cause::FailurePercentage
            };
            let threshold = f64::from(failures.threshold);
            for (host, percent) in by_failures {
                if 100.0 - percent >= threshold {
                    self.detected(cause);
                    if !is_ejected(host) {
                        self.eject(host, cause);
                    }
                }
            }
        }
    }

    fn enforcing(&self, cause: Cause) -> u32 {
        let settings = self.settings;
        match cause {
            Cause::Consecutive5xx => settings.consecutive_5xx.enforcing,
            Cause::ConsecutiveGatewayFailure => settings.consecutive_gateway_failure.enforcing,
            Cause::ConsecutiveLocalOriginFailure => {
                settings.consecutive_local_origin_failure.enforcing
            }
            Cause::SuccessRate => settings.success_rate.enforcing,
            Cause::SuccessRateLocalOrigin => settings.success_rate.enforcing_local_origin,
            Cause::FailurePercentage => settings.failure_percentage.enforcing,
            Cause::FailurePercentageLocalOrigin => {
                settings.failure_percentage.enforcing_local_origin
            }
        }
    }

    fn detected(&self, cause: Cause) {
        let stats = self.stats;
        match cause {
            Cause::Consecutive5xx => &stats.ejections_detected_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => {
                &stats.ejections_detected_consecutive_gateway_failure
            }
            Cause::ConsecutiveLocalOriginFailure => {
                &stats.ejections_detected_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &stats.ejections_detected_success_rate,
            Cause::SuccessRateLocalOrigin => &stats.ejections_detected_local_origin_success_rate,
            Cause::FailurePercentage => &stats.ejections_detected_failure_percentage,
            Cause::FailurePercentageLocalOrigin => {
                &stats.ejections_detected_local_origin_failure_percentage
            }
        }
        .inc();
    }

    fn enforced(&self, cause: Cause) {
        let stats = self.stats;
        stats.ejections_enforced_total.inc();
        match cause {
            Cause::Consecutive5xx => &stats.ejections_enforced_consecutive_5xx,
            Cause::ConsecutiveGatewayFailure => {
                &stats.ejections_enforced_consecutive_gateway_failure
            }
            Cause::ConsecutiveLocalOriginFailure => {
                &stats.ejections_enforced_consecutive_local_origin_failure
            }
            Cause::SuccessRate => &stats.ejections_enforced_success_rate,
            Cause::SuccessRateLocalOrigin => &stats.ejections_enforced_local_origin_success_rate,
            Cause::FailurePercentage => &stats.ejections_enforced_failure_percentage,
            Cause::FailurePercentageLocalOrigin => {
                &stats.ejections_enforced_local_origin_failure_percentage
            }
        }
        .inc();
    }
}

/// The mean less so many thousandths of the standard deviation.
fn least_success_rate(percents: &[f64], stdev_factor: u32) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a count of hosts")]
    let count = percents.len() as f64;
    let mean = percents.iter().sum::<f64>() / count;
    let variance = percents
        .iter()
        .map(|percent| (percent - mean).powi(2))
        .sum::<f64>()
        / count;
    mean - f64::from(stdev_factor) / 1000.0 * variance.sqrt()
}
