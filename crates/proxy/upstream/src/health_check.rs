//! Active health checks: hosts are asked whether they are well, on the main runtime.
//!
//! A cluster with a check has a [`Checker`]; [`watch`] runs one task for each of its hosts.
//! What a check finds becomes flags of the host, and the cluster splits its traffic anew.

mod grpc;
mod request;
mod session;
mod tcp;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use meltemi_ir::{HealthCheck, HealthCheckKind};
use meltemi_lifecycle::{Random, RandomSource};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use self::session::Session;
use crate::transport::Transport;
use crate::{Cluster, HealthFlags, Host};

/// A cluster's health check.
#[derive(Debug)]
pub(crate) struct Checker {
    settings: Arc<HealthCheck>,
    /// Hosts came or went.
    changed: Notify,
    passive: mpsc::UnboundedSender<u64>,
    failed: Mutex<Option<mpsc::UnboundedReceiver<u64>>>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The host is well.
    Healthy {
        /// It says that it would rather not be used.
        degraded: bool,
        /// It asks not to be counted.
        excluded: bool,
    },
    /// The host said that it is not.
    Failed {
        /// Once does not make it unhealthy.
        retriable: bool,
        /// It asks not to be counted.
        excluded: bool,
    },
    /// There was no connection, or no answer.
    Network,
    /// No answer in time.
    Timeout,
    /// An answer to a request said so (`x-envoy-immediate-health-check-fail`).
    Passive,
}

impl Checker {
    pub(crate) fn new(settings: HealthCheck) -> Self {
        let (passive, failed) = mpsc::unbounded_channel();
        Self {
            settings: Arc::new(settings),
            changed: Notify::new(),
            passive,
            failed: Mutex::new(Some(failed)),
        }
    }

    /// Hosts came or went.
    pub(crate) fn hosts_changed(&self) {
        self.changed.notify_one();
    }

    /// A host's answer said that it is not well.
    pub(crate) fn fail(&self, host: u64) {
        // Once nobody watches, nobody is failed.
        let _ = self.passive.send(host);
    }

    /// What is said of a host that was never checked.
    pub(crate) fn flags_of_new(host: &Host) -> HealthFlags {
        if host.health_check().is_some_and(|config| config.disabled) {
            HealthFlags::NONE
        } else {
            HealthFlags::FAILED_ACTIVE_HC | HealthFlags::PENDING_ACTIVE_HC
        }
    }
}

/// Checks the hosts until the cluster is retired; `settled` is called after each check that
/// changed something. For the main runtime.
pub(crate) async fn watch(
    cluster: Weak<Cluster>,
    random: Arc<RandomSource>,
    settled: impl Fn(&Arc<Cluster>) + Clone + Send + 'static,
) {
    let Some(mut failed) = cluster.upgrade().and_then(|cluster| {
        let checker = cluster.checker()?;
        let mut failed = checker
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed.take()
    }) else {
        return;
    };
    let mut tasks = JoinSet::new();
    let mut sessions: HashMap<u64, (Arc<Session>, AbortHandle)> = HashMap::new();
    loop {
        let Some(current) = cluster.upgrade().filter(|cluster| !cluster.is_retired()) else {
            return;
        };
        let Some(checker) = current.checker() else {
            return;
        };
        let hosts: HashMap<u64, Arc<Host>> = current
            .hosts()
            .iter()
            .map(|entry| (entry.host.id(), entry.host.clone()))
            .filter(|(_, host)| !host.health_check().is_some_and(|config| config.disabled))
            .collect();
        sessions.retain(|id, (_, task)| {
            let stays = hosts.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, host) in hosts {
            sessions.entry(id).or_insert_with(|| {
                let session = Arc::new(Session::new(host, checker.settings.clone()));
                let run =
                    session
                        .clone()
                        .run(Weak::clone(&cluster), random.next(), settled.clone());
                let task = tasks.spawn(run);
                (session, task)
            });
        }
        // A cluster that is gone is seen within a second.
        let wake = async {
            tokio::select! {
                () = checker.changed.notified() => None,
                failed = failed.recv() => failed,
                Some(_) = tasks.join_next() => None,
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => None,
            }
        };
        if let Some(id) = wake.await
            && let Some((session, _)) = sessions.get(&id)
        {
            session.take(&current, Verdict::Passive, &random.next());
            settled(&current);
        }
    }
}

/// Asks a host once. What is kept of the connection serves the next time.
async fn check(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    kept: &mut Option<request::Kept>,
) -> Verdict {
    match &settings.kind {
        HealthCheckKind::Http(config) => {
            request::check(cluster, host, settings, config, kept).await
        }
        HealthCheckKind::Tcp { send, receive } => {
            tcp::check(cluster, host, settings, send, receive).await
        }
        HealthCheckKind::Grpc {
            service_name,
            authority,
            headers,
        } => {
            let asked = grpc::Asked {
                service_name,
                authority,
                headers,
            };
            grpc::check(cluster, host, settings, asked, kept).await
        }
    }
}

/// Connects for a check: to the endpoint's health check address, with the cluster's TLS.
async fn connect(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    alpn: &[&[u8]],
) -> Option<crate::stream::Io> {
    let alpn_given: Vec<&[u8]> = settings.alpn.iter().map(Vec::as_slice).collect();
    let alpn = if alpn_given.is_empty() {
        alpn
    } else {
        &alpn_given
    };
    let transport = match &settings.transport_match {
        Some(matches) => cluster.transport_matching(matches).clone(),
        None => host.transport().clone(),
    };
    crate::connect::for_health_check(cluster, host, &transport, alpn).await
}

/// The name that a host is asked under.
fn host_name<'a>(cluster: &'a Cluster, host: &'a Host, configured: &'a str) -> &'a str {
    let own = host.health_check().map(|config| config.hostname.as_str());
    match own.filter(|name| !name.is_empty()) {
        Some(own) => own,
        None if !configured.is_empty() => configured,
        None => cluster.name(),
    }
}

/// Whether connections are TLS.
fn is_tls(transport: &Transport) -> bool {
    transport.tls.is_some()
}

/// Something at random below a limit in milliseconds.
fn jitter(random: &Random, limit: std::time::Duration) -> std::time::Duration {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    std::time::Duration::from_millis(random.below(limit))
}
