//! Secrets by name, as they were last delivered: discovery sets them, contexts read them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use meltemi_ir::{CertificateSource, Secret, SecretRef};
use tokio::sync::watch;

use crate::TlsError;
use crate::anchors::Anchors;
use crate::material::Uses;

/// Secrets by name. Shared by all threads; reading takes no lock.
pub struct SecretStore {
    secrets: ArcSwap<BTreeMap<String, Arc<Secret>>>,
    wanted: Mutex<HashMap<WantedSecret, usize>>,
    /// What nobody waits for any more, though it may not be there.
    given_up: Mutex<BTreeSet<String>>,
    generation: AtomicU64,
    changed: watch::Sender<u64>,
    /// What contexts show and trust.
    contexts: Mutex<Vec<Weak<Uses>>>,
    /// What the system trusts, read when a context first asks.
    system: Mutex<Option<Arc<Anchors>>>,
}

/// The certificates of one context, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificatesInUse {
    /// The chains that it shows, with the names of the secrets that they come from.
    pub shown: Vec<(Option<String>, Vec<u8>)>,
    /// The authorities that it trusts, and the secret's name.
    pub trusted: Option<(Option<String>, Vec<u8>)>,
}

/// A secret that some context refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WantedSecret {
    /// Its name.
    pub name: String,
    /// Which discovery service delivers it.
    pub source: CertificateSource,
}

impl Default for SecretStore {
    fn default() -> Self {
        Self {
            secrets: ArcSwap::default(),
            wanted: Mutex::default(),
            given_up: Mutex::default(),
            generation: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            contexts: Mutex::default(),
            system: Mutex::default(),
        }
    }
}

impl SecretStore {
    /// An empty store.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Stores a secret; contexts that use it take it at their next handshake.
    pub fn set(&self, name: &str, secret: Secret) {
        let secret = Arc::new(secret);
        self.edit(|secrets| secrets.insert(name.to_owned(), secret.clone()));
    }

    /// Forgets a secret; contexts that need it refuse handshakes.
    pub fn remove(&self, name: &str) {
        self.edit(|secrets| secrets.remove(name));
    }

    /// The secret of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Secret>> {
        self.secrets.load().get(name).cloned()
    }

    /// All names with a secret, sorted.
    pub fn names(&self) -> Vec<String> {
        self.secrets.load().keys().cloned().collect()
    }

    /// What contexts refer to, whether delivered or not, sorted by name.
    pub fn wanted(&self) -> Vec<WantedSecret> {
        let mut wanted: Vec<_> = self.lock_wanted().keys().cloned().collect();
        wanted.sort_by(|left, right| left.name.cmp(&right.name));
        wanted
    }

    /// What waits for the secret goes into service without it.
    pub fn wait_no_more(&self, name: &str) {
        if self.lock_given_up().insert(name.to_owned()) {
            self.announce();
        }
    }

    /// The secret is waited for again.
    pub fn wait_again(&self, name: &str) {
        self.lock_given_up().remove(name);
    }

    /// Whether a secret is not there and waited for.
    pub(crate) fn awaits(&self, name: &str) -> bool {
        self.get(name).is_none() && !self.lock_given_up().contains(name)
    }

    /// Changes whenever a secret, or the set of wanted ones, does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The certificates of every context; what has not been delivered is left out.
    pub fn certificates_in_use(&self) -> Vec<CertificatesInUse> {
        let contexts = self.lock_contexts().clone();
        let live = contexts.iter().filter_map(Weak::upgrade);
        live.map(|uses| self.in_use(&uses)).collect()
    }

    fn in_use(&self, uses: &Uses) -> CertificatesInUse {
        let shown = uses.certificates.iter().filter_map(|one| match one {
            SecretRef::Inline(certificate) => Some((None, certificate.chain_pem.clone())),
            SecretRef::Sds { name, source: _ } => match &*self.get(name)? {
                Secret::Certificate(it) => Some((Some(name.clone()), it.chain_pem.clone())),
                _ => None,
            },
        });
        let trusted = uses.validation.as_ref().and_then(|one| match one {
            SecretRef::Inline(context) => Some((None, context.trusted_ca_pem.clone())),
            SecretRef::Sds { name, source: _ } => match &*self.get(name)? {
                Secret::Validation(it) => Some((Some(name.clone()), it.trusted_ca_pem.clone())),
                _ => None,
            },
        });
        CertificatesInUse {
            shown: shown.collect(),
            trusted: trusted.filter(|(_, pem)| !pem.is_empty()),
        }
    }

    /// Remembers what a context uses, for as long as it lives.
    pub(crate) fn register(&self, uses: &Arc<Uses>) {
        let mut contexts = self.lock_contexts();
        if contexts.len() == contexts.capacity() {
            contexts.retain(|context| context.strong_count() > 0);
        }
        contexts.push(Arc::downgrade(uses));
    }

    fn lock_contexts(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Uses>>> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authorities that the system trusts, shared by all contexts.
    pub(crate) fn system_anchors(&self) -> Result<Arc<Anchors>, TlsError> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(anchors) = &*system {
            return Ok(Arc::clone(anchors));
        }
        let anchors = Arc::new(Anchors::of_system()?);
        Ok(Arc::clone(system.insert(anchors)))
    }

    /// Grows with every change of a secret.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn want(&self, secret: &WantedSecret) {
        *self.lock_wanted().entry(secret.clone()).or_default() += 1;
        self.announce();
    }

    pub(crate) fn unwant(&self, secret: &WantedSecret) {
        let mut wanted = self.lock_wanted();
        if let Some(count) = wanted.get_mut(secret) {
            *count -= 1;
            if *count == 0 {
                wanted.remove(secret);
            }
        }
        drop(wanted);
        self.announce();
    }

    fn lock_given_up(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit<T>(&self, edit: impl Fn(&mut BTreeMap<String, Arc<Secret>>) -> T) {
        self.secrets.rcu(|secrets| {
            let mut secrets = BTreeMap::clone(secrets);
            edit(&mut secrets);
            secrets
        });
        self.generation.fetch_add(1, Ordering::Release);
        self.announce();
    }

    fn announce(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn lock_wanted(&self) -> std::sync::MutexGuard<'_, HashMap<WantedSecret, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
