//! The mesh's trust: publishing the bundle, and leading it from one root to the next.
//!
//! In: the authorities, which proxies are connected and what they have confirmed. Out: the bundle for
//! agents, over xDS as Istio's PCDS; the steps of a rotation, each taken when the authorities find that
//! everybody has followed. Called by [`crate::control_plane`], and by `/debug/ca`.
//!
//! A proxy that was there a moment ago is waited for, and so is, after a start, everyone who still has a
//! certificate: a stream that breaks at the wrong time must not count as consent.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meltemi_ca::{Authorities, CaMetrics, Confirmation, Phase, ProxyTrust, RotationError};
use meltemi_lifecycle::{Clock, DrainSignal};
use meltemi_xds::any;
use meltemi_xds::pb::istio::mesh::v1alpha1::ProxyConfig;
use meltemi_xds_server::{Kind, ProxyRegistry, ProxyStatus, Resource, SyncState, Version};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::keys::KeyClient;
use crate::mesh::Bundles;

/// How often is looked at a rotation.
const TICK: Duration = Duration::from_millis(250);
/// How often is looked at files that were plugged in, while there is no rotation.
const REST: Duration = Duration::from_secs(5);

/// What is known of the mesh's trust.
pub(crate) struct Trust {
    authorities: Arc<Authorities>,
    proxies: Arc<ProxyRegistry>,
    /// How long a proxy that has gone is waited for.
    patience: Duration,
    /// Node ids, and when they were last seen connected.
    seen: Mutex<HashMap<String, Instant>>,
}

/// Publishes the bundle and leads rotations.
pub(crate) struct TrustKeeper {
    pub trust: Arc<Trust>,
    pub bundles: Bundles,
    /// The bundle in PEM, for whoever writes it to files.
    pub texts: watch::Sender<Arc<str>>,
    pub keys: Arc<KeyClient>,
    pub metrics: CaMetrics,
    pub clock: Clock,
    /// How long a step waits after everybody has followed: handshakes end that began before.
    pub settle: Duration,
    /// Since when everybody has followed, in which phase.
    pub ready: Option<(Phase, Instant)>,
}

impl Trust {
    /// Nobody is connected yet, and whoever has a certificate is expected.
    pub fn new(
        authorities: Arc<Authorities>,
        proxies: Arc<ProxyRegistry>,
        patience: Duration,
    ) -> Self {
        let now = Instant::now();
        let holders = authorities.holders().into_iter();
        let seen = holders.map(|it| (it, now)).collect();
        Self {
            authorities,
            proxies,
            patience,
            seen: Mutex::new(seen),
        }
    }

    /// The authorities.
    pub fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// How far each proxy has come with the bundle of the moment.
    pub fn proxies(&self) -> Vec<ProxyTrust> {
        let now = Instant::now();
        let statuses = self.proxies.list();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for status in &statuses {
            seen.insert(status.node.id.clone(), now);
        }
        seen.retain(|_, at| now.duration_since(*at) < self.patience || *at == now);
        let current = version(&self.authorities.standing().bundle_pem());
        judge(&statuses, seen.keys(), current)
    }

    /// Takes the next step of a rotation if it may be taken, or whatever stands in its way if `force`
    /// says so.
    pub fn advance(&self, force: bool) -> Result<Phase, RotationError> {
        let phase = self.authorities.advance(&self.proxies(), force)?;
        info!(%phase, "the rotation of the root goes on");
        Ok(phase)
    }
}

impl TrustKeeper {
    /// Publishes what is trusted now.
    pub fn publish(&self) {
        let standing = self.trust.authorities.standing();
        self.metrics.stands(&standing, self.clock.wall());
        let bundle = standing.bundle_pem();
        let text: Arc<str> = bundle.concat().into();
        if let Err(error) = self.keys.trust(&text) {
            warn!("token issuers are trusted as before: {error}");
        }
        self.bundles.publish(resource(bundle));
        self.texts.send_replace(text);
    }

    /// Publishes every change and leads rotations until the drain.
    pub async fn run(mut self, mut drain: DrainSignal) {
        let mut changes = self.trust.authorities.watch();
        changes.mark_changed();
        loop {
            let steady = self.trust.authorities.standing().phase == Phase::Steady;
            let pause = if steady { REST } else { TICK };
            tokio::select! {
                Ok(()) = changes.changed() => self.publish(),
                () = tokio::time::sleep(pause) => self.look(),
                () = drain.draining() => return,
            }
        }
    }

    fn look(&mut self) {
        let trust = self.trust.clone();
        let authorities = &trust.authorities;
        authorities.look();
        let standing = authorities.standing();
        self.metrics.stands(&standing, self.clock.wall());
        // Who is connected has to be noted before it matters.
        let proxies = trust.proxies();
        if standing.phase == Phase::Steady || !authorities.obstacles(&proxies).is_empty() {
            self.ready = None;
            return;
        }
        let now = Instant::now();
        let since = match self.ready {
            Some((phase, since)) if phase == standing.phase => since,
            _ => now,
        };
        self.ready = Some((standing.phase, since));
        if now.duration_since(since) < self.settle {
            return;
        }
        match authorities.advance(&proxies, false) {
            Ok(phase) => info!(%phase, "the rotation of the root goes on"),
            Err(RotationError::NotYet(_) | RotationError::None) => {}
            Err(error) => warn!("the rotation of the root does not go on: {error}"),
        }
    }
}

/// The version of a bundle.
fn version(bundle: &[String]) -> Version {
    let mut hasher = DefaultHasher::new();
    bundle.hash(&mut hasher);
    Version::of_hash(hasher.finish())
}

/// A bundle as agents take it.
fn resource(bundle: Vec<String>) -> Resource {
    Resource {
        name: "default".into(),
        version: version(&bundle),
        body: Arc::new(any::pack(&ProxyConfig {
            ca_certificates_pem: bundle,
        })),
        needs_endpoints: false,
    }
}

/// How far each proxy has come: those with streams, and those that were there a moment ago.
fn judge<'a>(
    statuses: &[ProxyStatus],
    seen: impl Iterator<Item = &'a String>,
    current: Version,
) -> Vec<ProxyTrust> {
    let mut found: BTreeMap<&str, Confirmation> = BTreeMap::new();
    for id in seen {
        found.insert(id, Confirmation::Away);
    }
    for status in statuses {
        let here = confirmation(status, current);
        let known = found.entry(&status.node.id).or_insert(Confirmation::Away);
        // A proxy may have several streams; one of them takes the bundle.
        if matches!(known, Confirmation::Away | Confirmation::Silent) {
            *known = here;
        }
    }
    let proxies = found.into_iter();
    proxies
        .map(|(id, confirmation)| ProxyTrust {
            proxy: id.split('~').nth(2).unwrap_or(id).to_owned(),
            confirmation,
        })
        .collect()
}

fn confirmation(status: &ProxyStatus, current: Version) -> Confirmation {
    match status.kinds.get(&Kind::ProxyConfig) {
        None => Confirmation::Silent,
        Some(it) if it.content != Some(current) => Confirmation::Waiting,
        Some(it) => match &it.refused {
            Some(words) => Confirmation::Refused(words.clone()),
            None if it.state == SyncState::Synced => Confirmation::Confirmed,
            None => Confirmation::Waiting,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use meltemi_xds::pb::envoy::config::core::v3::Node;
    use meltemi_xds_server::{Form, KindStatus};

    use super::*;

    fn status(pod: &str, kinds: &[(Kind, Option<Version>, SyncState)]) -> ProxyStatus {
        let kinds = kinds.iter().map(|(kind, content, state)| {
            let status = KindStatus {
                state: *state,
                sent: String::new(),
                acknowledged: String::new(),
                version: 1,
                resources: 1,
                content: *content,
                refused: None,
            };
            (*kind, status)
        });
        ProxyStatus {
            connection: 1,
            node: Arc::new(Node {
                id: format!("sidecar~10.0.0.1~{pod}.shop~shop.svc.cluster.local"),
                ..Node::default()
            }),
            form: Form::Sotw,
            connected: SystemTime::UNIX_EPOCH,
            reports_health: false,
            kinds: kinds.collect(),
        }
    }

    #[test]
    fn only_the_bundle_of_the_moment_counts_as_confirmed() {
        use SyncState::{Stale, Synced};
        let old = version(&["old".to_owned()]);
        let new = version(&["old".to_owned(), "new".to_owned()]);
        let bundle = |content, state| (Kind::ProxyConfig, Some(content), state);
        let clusters = (Kind::Cluster, None, Synced);
        let statuses = [
            status("confirmed", &[clusters]),
            status("confirmed", &[bundle(new, Synced)]),
            status("behind", &[bundle(old, Synced)]),
            status("waiting", &[clusters, bundle(new, Stale)]),
            status("silent", &[clusters]),
        ];
        let seen = ["sidecar~10.0.0.1~gone.shop~shop.svc.cluster.local".to_owned()];
        let found = judge(&statuses, seen.iter(), new);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.proxy.as_str(), &it.confirmation))
            .collect();
        assert_eq!(
            found,
            [
                ("behind.shop", &Confirmation::Waiting),
                ("confirmed.shop", &Confirmation::Confirmed),
                ("gone.shop", &Confirmation::Away),
                ("silent.shop", &Confirmation::Silent),
                ("waiting.shop", &Confirmation::Waiting),
            ]
        );
    }
}
