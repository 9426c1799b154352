//! The authorities of a mesh: who signs now, who is trusted, and the way from one root to the next.
//!
//! In: a directory of its own or one that somebody has plugged in, requests with their callers'
//! identities, how far the proxies have come. Out: chains, the trust bundle, word of every change of
//! it. Called by `service`, and by the control plane, which serves the bundle and drives rotations.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use meltemi_spiffe::{SpiffeId, TrustDomain};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::authority::Material;
use crate::ledger::{Entry, Ledger, seconds};
use crate::rotation::{self, Outstanding, Phase, ProxyTrust, Standing};
use crate::{CaDirectory, Issued, KeyedCertificate, Purpose, SignError, StoreError};

/// The authorities of a mesh.
pub struct Authorities {
    purpose: Purpose,
    own: CaDirectory,
    plugged: Option<CaDirectory>,
    standing: ArcSwap<Standing>,
    /// Held while the standing changes.
    changing: Mutex<Changing>,
    ledger: Mutex<Ledger>,
    changed: watch::Sender<()>,
}

/// What is known of the files that were plugged in.
#[derive(Default)]
struct Changing {
    /// As they were last used.
    used: Option<Material>,
    /// What was last said to be wrong with them.
    wrong: Option<String>,
}

/// Why a rotation does not begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// There is one.
    #[error("a rotation is under way: {0}")]
    UnderWay(Phase),
    /// There is none.
    #[error("no rotation is under way")]
    None,
    /// The authority is somebody else's.
    #[error(
        "the authority is plugged in at {}: replace its files, and the rotation begins by itself",
        .0.display()
    )]
    Plugged(PathBuf),
    /// The next step may not be taken yet.
    #[error("not yet: {}", .0.join("; "))]
    NotYet(Vec<String>),
    /// The files cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One of the authorities, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// The root.
    pub root: crate::RootInfo,
    /// It signs for workloads.
    pub signs: bool,
    /// How many certificates under it are about.
    pub certificates: usize,
}

impl Authorities {
    /// The authorities of `own`, made if there are none; or that of `plugged`, which is never written.
    ///
    /// # Errors
    /// When files are missing, do not fit together, or cannot be written.
    pub fn open(
        own: CaDirectory,
        plugged: Option<CaDirectory>,
        purpose: Purpose,
    ) -> Result<Self, StoreError> {
        let now = purpose.clock.wall();
        let mut changing = Changing::default();
        let standing = match &plugged {
            None => own.standing(&purpose)?,
            Some(plugged) => {
                let material = plugged.material()?;
                let signer = plugged.authority(&material, &purpose)?;
                changing.used = Some(material);
                Standing::steady(Arc::new(signer), now)
            }
        };
        let ledger = Ledger::open(&own.journal()?, now)?;
        Ok(Self {
            purpose,
            own,
            plugged,
            standing: ArcSwap::from_pointee(standing),
            changing: Mutex::new(changing),
            ledger: Mutex::new(ledger),
            changed: watch::Sender::new(()),
        })
    }

    /// The trust domain whose identities are signed.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.purpose.trust_domain
    }

    /// The directory that was plugged in.
    pub fn plugged(&self) -> Option<&CaDirectory> {
        self.plugged.as_ref()
    }

    /// Who signs and who is trusted now.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Changes whenever the standing does.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Signs a request for `id`. `holder` is the process that asks, in its own words: what it is
    /// given replaces what it had. The chain ends with the trust bundle, as one text.
    ///
    /// # Errors
    /// As [`crate::CertificateAuthority::sign`].
    pub fn sign(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        holder: Option<&str>,
        requested: Option<Duration>,
    ) -> Result<Issued, SignError> {
        let standing = self.standing();
        let mut issued = standing.signer.sign(csr_pem, id, requested)?;
        issued.chain.push(standing.bundle_pem().concat());
        let entry = Entry {
            id: id.to_string(),
            holder: holder.unwrap_or(&issued.serial).to_owned(),
            root: standing.signer.root().fingerprint.clone(),
            not_after: seconds(issued.not_after),
        };
        if let Err(error) = self.ledger().record(entry, self.purpose.clock.wall()) {
            // What is not on record could be forgotten by a restart, and with it who must be waited for.
            error!("a certificate is not signed that cannot be put on record: {error}");
            return Err(SignError::Record(error.to_string()));
        }
        Ok(issued)
    }

    /// As [`crate::CertificateAuthority::server_certificate`], for the control plane itself.
    ///
    /// # Errors
    /// When a name does not fit into a certificate, or the authority has expired.
    pub fn server_certificate(
        &self,
        names: &[String],
        addresses: &[IpAddr],
    ) -> Result<KeyedCertificate, SignError> {
        let standing = self.standing();
        standing
            .server_signer()
            .server_certificate(names, addresses, None)
    }

    /// Certificates that are about of other roots than the one that signs.
    pub fn outstanding(&self) -> Outstanding {
        let root = self.standing().signer.root().fingerprint.clone();
        self.ledger().outstanding(&root, self.purpose.clock.wall())
    }

    /// The processes that have certificates, as they name themselves.
    pub fn holders(&self) -> Vec<String> {
        self.ledger().holders(self.purpose.clock.wall())
    }

    /// The authorities, the one that signs first.
    pub fn status(&self) -> Vec<AuthorityStatus> {
        let standing = self.standing();
        let now = self.purpose.clock.wall();
        let ledger = self.ledger();
        let all = std::iter::once(&standing.signer).chain(&standing.other);
        all.enumerate()
            .map(|(index, it)| AuthorityStatus {
                root: it.root().clone(),
                signs: index == 0,
                certificates: ledger.count(&it.root().fingerprint, now),
            })
            .collect()
    }

    /// What the next step of the rotation waits for; empty when it may be taken, or there is none.
    pub fn obstacles(&self, proxies: &[ProxyTrust]) -> Vec<String> {
        let phase = self.standing().phase;
        rotation::obstacles(phase, proxies, &self.outstanding())
    }

    /// Begins to replace the root by a new one.
    ///
    /// # Errors
    /// When a rotation is under way, the authority is plugged in, or files cannot be written.
    pub fn begin(&self) -> Result<(), RotationError> {
        let _held = self.changing();
        let standing = self.standing();
        if let Some(plugged) = &self.plugged {
            return Err(RotationError::Plugged(plugged.path().to_owned()));
        }
        if standing.phase != Phase::Steady {
            return Err(RotationError::UnderWay(standing.phase));
        }
        self.set(self.own.begin(&self.purpose)?);
        Ok(())
    }

    /// Takes the next step of a rotation, if it may be taken; without asking, where `force` says so.
    ///
    /// # Errors
    /// When there is no rotation, the step waits for something, or files cannot be written.
    pub fn advance(&self, proxies: &[ProxyTrust], force: bool) -> Result<Phase, RotationError> {
        let _held = self.changing();
        let obstacles = self.obstacles(proxies);
        let now = self.purpose.clock.wall();
        let next = self.standing().next(now).ok_or(RotationError::None)?;
        if !obstacles.is_empty() {
            if !force {
                return Err(RotationError::NotYet(obstacles));
            }
            warn!("the rotation goes on without: {}", obstacles.join("; "));
        }
        if self.plugged.is_none() {
            self.own.advance(next.phase, now)?;
        }
        let phase = next.phase;
        self.set(next);
        Ok(phase)
    }

    /// Looks at the files that were plugged in. What has changed is used: at once where it leads to the
    /// root that signs already, else by way of a rotation. What is wrong changes nothing.
    pub fn look(&self) {
        let Some(plugged) = &self.plugged else {
            return;
        };
        let mut changing = self.changing();
        let read = plugged.material().and_then(|material| {
            if changing.used.as_ref() == Some(&material) {
                return Ok(None);
            }
            let authority = plugged.authority(&material, &self.purpose)?;
            Ok(Some((material, Arc::new(authority))))
        });
        let (material, authority) = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                changing.wrong = None;
                return;
            }
            Err(error) => {
                let text = error.to_string();
                if changing.wrong.as_ref() != Some(&text) {
                    error!("the plugged-in authority stays as it is: {text}");
                    changing.wrong = Some(text);
                }
                return;
            }
        };
        let now = self.purpose.clock.wall();
        let standing = self.standing();
        let same = |it: &Arc<crate::CertificateAuthority>| it.root() == authority.root();
        let next = match (standing.phase, &standing.other) {
            (_, Some(other)) if same(other) => Standing {
                other: Some(authority),
                ..Standing::clone(&standing)
            },
            // As it was before: there is nothing to replace it by any more.
            (Phase::Distributing, _) if same(&standing.signer) => Standing::steady(authority, now),
            _ if same(&standing.signer) => Standing {
                signer: authority,
                ..Standing::clone(&standing)
            },
            (Phase::Replacing, _) => return, // One after the other: looked at again when steady.
            (Phase::Steady | Phase::Distributing, _) => Standing {
                phase: Phase::Distributing,
                since: now,
                other: Some(authority),
                ..Standing::clone(&standing)
            },
        };
        changing.used = Some(material);
        changing.wrong = None;
        info!(phase = %next.phase, "the plugged-in authority has changed");
        self.set(next);
    }

    fn set(&self, standing: Standing) {
        info!(
            phase = %standing.phase,
            signing = standing.signer.root().fingerprint,
            "certificate authority"
        );
        self.standing.store(Arc::new(standing));
        self.changed.send_replace(());
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When what is trusted or signs ends: the root, and the first of the certificates that lead to it.
pub(crate) fn ends(standing: &Standing) -> (SystemTime, SystemTime) {
    let signer = &standing.signer;
    let root = signer.root().not_after;
    (root, signer.not_after().min(root))
}

#[cfg(test)]
mod tests;
