//! The workload's key and certificate: made here, certified by the control plane's CA,
//! renewed in time.
//!
//! In: time, and trust bundles as the control plane sends them. Out: the secrets `default` and
//! `ROOTCA`, and for the connections to the control plane itself the roots that these must lead to. The
//! key never leaves this process, but for the proxy's socket.

mod key;
mod request;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_ir::{Secret, TlsCertificate, ValidationContext};
use meltemi_lifecycle::{Clock, Random};
use meltemi_tls::SecretStore;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::chain::is_under;
use crate::sds::Deliveries;

pub use key::{WorkloadKey, WorkloadKeyError};
use request::Certified;
pub use request::{CertificateClient, IdentityError};
pub(crate) use request::{channel, innermost};

/// The longest wait between attempts while none has succeeded.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long a renewal waits at most because another root signs: so that not everybody comes at once.
const SPREAD: Duration = Duration::from_secs(1);

/// The secret that holds the workload's certificate.
pub(crate) const CERTIFICATE: &str = "default";

/// The secret that holds the mesh's roots.
pub(crate) const ROOTS: &str = "ROOTCA";

/// When a certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renewal {
    /// For how long it is asked for; Istio's `SECRET_TTL`.
    pub lifetime: Duration,
    /// The part of the lifetime that is left at a renewal; Istio's `SECRET_GRACE_PERIOD_RATIO`.
    pub grace: f64,
    /// By how much that part differs at most; Istio's `SECRET_GRACE_PERIOD_RATIO_JITTER`.
    pub jitter: f64,
}

/// A trust bundle from the control plane.
#[derive(Debug)]
pub(crate) struct TrustUpdate {
    /// PEM, one certificate each, that of the authority that signs first.
    pub bundle: Vec<String>,
    /// Told when the bundle is trusted and the certificate is one of the first root.
    pub done: oneshot::Sender<()>,
}

/// The workload's identity, kept fresh in a secret store.
pub struct Identity {
    /// Gets certificates.
    pub client: CertificateClient,
    /// When they are renewed.
    pub renewal: Renewal,
    /// Where the secrets go.
    pub secrets: Arc<SecretStore>,
    /// What connections to the control plane must lead to.
    pub control_plane: ControlPlaneRoots,
    /// Roots that the workload trusts beside the mesh's, PEM.
    pub extra_roots: Vec<String>,
    /// How far those have come that take the secrets over a socket.
    pub(crate) deliveries: Option<Deliveries>,
    /// The clock.
    pub clock: Clock,
}

/// The roots that the control plane's certificate must lead to: those of a file, and later those of
/// the mesh beside them, as a secret.
#[derive(Clone, Debug)]
pub struct ControlPlaneRoots {
    /// The secret's name.
    pub secret: String,
    /// What the file held at the start, PEM.
    pub file: String,
}

/// What an identity has at the moment.
#[derive(Default)]
struct Held {
    chain_pem: Vec<u8>,
    not_before: Option<SystemTime>,
    not_after: Option<SystemTime>,
    /// The root that signs, if the control plane has said so.
    signing_root: Option<String>,
    /// Who waits for the bundle to be trusted and the certificate to follow.
    waiting: Vec<oneshot::Sender<()>>,
    failures: u32,
    /// That it has expired has been said.
    expired: bool,
}

impl Default for Renewal {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(24 * 3600),
            grace: 0.5,
            jitter: 0.01,
        }
    }
}

impl Renewal {
    /// How long after `now` a certificate of this validity is renewed. `unit`, from 0 to 1, spreads
    /// what would happen all at once.
    fn due(&self, from: SystemTime, until: SystemTime, now: SystemTime, unit: f64) -> Duration {
        let lifetime = until.duration_since(from).unwrap_or_default();
        let grace = (self.grace + self.jitter * (2.0 * unit - 1.0)).clamp(0.0, 1.0);
        let at = until - lifetime.mul_f64(grace);
        let wait = at.duration_since(now).unwrap_or_default();
        wait.max(Duration::from_secs(1))
    }
}

impl ControlPlaneRoots {
    /// The secret with these roots beside those of the file.
    pub(crate) fn with(&self, bundle: &str) -> Secret {
        Secret::Validation(ValidationContext {
            trusted_ca_pem: [self.file.as_str(), "\n", bundle].concat().into_bytes(),
            ..ValidationContext::default()
        })
    }
}

impl Identity {
    /// Keeps the secrets fresh for ever: the first time as soon as possible, then again when a part of
    /// the lifetime is left, and soon when another root signs. A failure keeps the last good
    /// certificate, and says so when that has expired.
    pub(crate) async fn keep_fresh(self, random: Random, mut updates: mpsc::Receiver<TrustUpdate>) {
        let mut held = Held::default();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {
                    due = Instant::now() + self.renew(&mut held, random.unit()).await;
                }
                Some(update) = updates.recv() => {
                    if self.trust(&mut held, update) {
                        due = due.min(Instant::now() + SPREAD.mul_f64(random.unit()));
                    }
                }
            }
            self.confirm(&mut held);
        }
    }

    /// Gets a certificate; how long to wait for the next. `unit`, from 0 to 1, spreads that.
    async fn renew(&self, held: &mut Held, unit: f64) -> Duration {
        let id = &self.client.id;
        match self.client.obtain(self.renewal.lifetime).await {
            Ok(certified) => {
                held.failures = 0;
                held.expired = false;
                let (from, until) = (certified.not_before, certified.not_after);
                let wait = self.renewal.due(from, until, self.clock.wall(), unit);
                info!(identity = %id, renewal_in = ?wait, "certificate obtained");
                self.store(held, certified);
                wait
            }
            Err(error) => {
                held.failures = held.failures.saturating_add(1);
                let ceiling = Duration::from_millis(250)
                    .saturating_mul(1 << held.failures.min(8))
                    .min(RETRY_MAX);
                let wait = ceiling.mul_f64(0.5 + unit / 2.0);
                warn!(identity = %id, retry_in = ?wait, "no certificate: {error}");
                self.look_at_expiry(held);
                wait
            }
        }
    }

    /// Peers refuse an expired certificate, whoever shows it: that must not come as a surprise.
    fn look_at_expiry(&self, held: &mut Held) {
        let Some(until) = held.not_after else {
            return;
        };
        if let Ok(since) = self.clock.wall().duration_since(until)
            && !held.expired
        {
            held.expired = true;
            error!(
                identity = %self.client.id,
                "the certificate expired {} s ago and could not be renewed: peers refuse it",
                since.as_secs()
            );
        }
    }

    fn store(&self, held: &mut Held, certified: Certified) {
        let Certified {
            certificate,
            roots_pem,
            not_before,
            not_after,
        } = certified;
        // Roots first: what is about to be presented must be trusted by then.
        self.set_roots(&roots_pem);
        held.chain_pem.clone_from(&certificate.chain_pem);
        held.not_before = Some(not_before);
        held.not_after = Some(not_after);
        self.set_certificate(certificate);
    }

    fn set_certificate(&self, certificate: TlsCertificate) {
        self.secrets
            .set(CERTIFICATE, Secret::Certificate(certificate));
    }

    fn set_roots(&self, bundle: &str) {
        let roots = ValidationContext {
            trusted_ca_pem: [bundle, "\n", &self.extra_roots.join("\n")]
                .concat()
                .into_bytes(),
            ..ValidationContext::default()
        };
        self.secrets.set(ROOTS, Secret::Validation(roots));
        self.secrets
            .set(&self.control_plane.secret, self.control_plane.with(bundle));
    }

    /// Trusts a bundle; whether a certificate of its first root is needed.
    fn trust(&self, held: &mut Held, update: TrustUpdate) -> bool {
        let TrustUpdate { bundle, done } = update;
        let changed = held.signing_root.as_ref() != bundle.first();
        held.signing_root = bundle.first().cloned();
        self.set_roots(&bundle.concat());
        info!(roots = bundle.len(), "trust bundle taken");
        held.waiting.push(done);
        // Asked for once: an authority that signs under another root of its bundle is not pestered.
        changed && !held.chain_pem.is_empty() && !held.follows()
    }

    /// Tells those who wait, once everything is as the control plane wants it here and with those who
    /// take the secrets over the socket.
    fn confirm(&self, held: &mut Held) {
        if held.waiting.is_empty() || !held.follows() {
            return;
        }
        let waiting = std::mem::take(&mut held.waiting);
        let deliveries = self.deliveries.clone();
        tokio::spawn(async move {
            if let Some(deliveries) = deliveries {
                deliveries.settled().await;
            }
            for done in waiting {
                let _ = done.send(()); // Without a receiver the stream has ended.
            }
        });
    }
}

impl Held {
    /// Whether the certificate is one of the root that signs.
    fn follows(&self) -> bool {
        let root = self.signing_root.as_ref();
        root.is_some_and(|it| is_under(&self.chain_pem, it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_part_of_its_life_is_left() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let renewal = Renewal::default();
        for (grace, now, unit, expected) in [
            (0.5, 1000, 0.5, 500),
            (0.5, 1000, 0.0, 510),
            (0.5, 1000, 1.0, 490),
            (0.5, 1400, 0.5, 100),
            (0.2, 1000, 0.5, 800),
            // Late, or after the end: soon.
            (0.5, 1900, 0.5, 1),
            (0.5, 5000, 0.5, 1),
            (1.0, 1000, 1.0, 1),
            (0.0, 1000, 0.0, 1000),
        ] {
            let renewal = Renewal { grace, ..renewal };
            let due = renewal.due(at(1000), at(2000), at(now), unit);
            assert_eq!(due.as_secs(), expected, "{grace} {now} {unit}");
        }
    }
}
