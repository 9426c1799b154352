//! Which proxies are connected, and how far each has come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use meltemi_xds::pb::envoy::config::core::v3::Node;

use crate::{Form, Kind, Session, Version};

/// How far a proxy has come with one kind, in istioctl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// The last answer has been confirmed.
    Synced,
    /// Nothing has been sent, because nothing was asked for or there is nothing to send.
    NotSent,
    /// The last answer has not been confirmed.
    Stale,
}

/// How far a proxy has come with one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindStatus {
    /// In istioctl's words.
    pub state: SyncState,
    /// The last answer's nonce; empty when nothing was sent.
    pub sent: String,
    /// The nonce of the last answer that was confirmed.
    pub acknowledged: String,
    /// The state of the mesh that the last answer was made from.
    pub version: u64,
    /// How many resources the proxy has.
    pub resources: usize,
    /// The version of the resource that was last sent, of a kind of which there is one only.
    pub content: Option<Version>,
    /// The last refusal, until something is confirmed.
    pub refused: Option<String>,
}

/// A connected proxy.
#[derive(Clone, Debug)]
pub struct ProxyStatus {
    /// The connection's number, unique while this control plane runs.
    pub connection: u64,
    /// Who the proxy says it is.
    pub node: Arc<Node>,
    /// Which form of the protocol it speaks.
    pub form: Form,
    /// When it connected.
    pub connected: SystemTime,
    /// It is a stream for reports of health.
    pub reports_health: bool,
    /// How far it has come, by kind.
    pub kinds: BTreeMap<Kind, KindStatus>,
}

impl ProxyStatus {
    /// Whether this is the stream of a proxy's agent, which takes only what agents take.
    pub fn is_agent(&self) -> bool {
        let takes_something = self.reports_health || !self.kinds.is_empty();
        takes_something && self.kinds.keys().all(|it| it.is_for_agents())
    }
}

/// All connected proxies.
#[derive(Debug, Default)]
pub struct ProxyRegistry {
    proxies: Mutex<BTreeMap<u64, ProxyStatus>>,
}

impl ProxyRegistry {
    /// The proxies, by connection.
    pub fn list(&self) -> Vec<ProxyStatus> {
        self.lock().values().cloned().collect()
    }

    /// The latest connection of the proxy with this node id, or with this `pod.namespace`
    /// (the id's third part).
    pub fn find(&self, id: &str) -> Option<ProxyStatus> {
        let is_it = |status: &&ProxyStatus| {
            status.node.id == id || status.node.id.split('~').nth(2) == Some(id)
        };
        let proxies = self.lock();
        let mut found = proxies.values().rev().filter(is_it);
        let mut agents = found.clone();
        let proxy = found.find(|it| !it.is_agent());
        proxy.or_else(|| agents.next()).cloned()
    }

    pub(crate) fn insert(&self, status: ProxyStatus) {
        self.lock().insert(status.connection, status);
    }

    pub(crate) fn update(&self, connection: u64, session: &Session) {
        let mut proxies = self.lock();
        let Some(status) = proxies.get_mut(&connection) else {
            return;
        };
        status.kinds = Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let watch = session.watch(kind)?;
                let state = match (watch.nonce.as_str(), watch.confirmed.as_str()) {
                    ("", _) => SyncState::NotSent,
                    (sent, confirmed) if sent == confirmed => SyncState::Synced,
                    _ => SyncState::Stale,
                };
                let status = KindStatus {
                    state,
                    sent: watch.nonce.clone(),
                    acknowledged: watch.confirmed.clone(),
                    version: watch.version,
                    resources: watch.known.count_sent(),
                    content: match kind {
                        Kind::ProxyConfig => watch.known.only_version(),
                        _ => None,
                    },
                    refused: watch.refused.clone(),
                };
                Some((kind, status))
            })
            .collect();
    }

    pub(crate) fn remove(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, ProxyStatus>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
