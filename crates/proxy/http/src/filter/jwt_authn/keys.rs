//! A provider's keys: those that the configuration has, or those that are fetched, kept for a
//! while, and fetched again. All workers share them; at any time one request fetches and the others
//! that need the keys wait for it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderValue, Method, StatusCode, header};
use meltemi_ir as ir;
use meltemi_jwt::{Failure, KeySet};
use meltemi_telemetry::JwtAuthnStats;
use tokio::time::Instant;

use super::Shared;
use super::provider::Provider;
use crate::call::Call;
use crate::worker::WorkerContext;

/// How long before they run out keys are fetched again.
const AHEAD: Duration = Duration::from_secs(5);

/// The keys of a provider.
pub(super) enum Keys {
    /// Those of the configuration; none where no key of it is usable, so that no token is good.
    Fixed(Option<Arc<KeySet>>),
    /// Those that are fetched.
    Remote(Box<Remote>),
}

/// Keys that are fetched.
pub(super) struct Remote {
    config: ir::RemoteJwks,
    held: ArcSwapOption<Held>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<()>,
    /// Fetches that failed.
    failures: AtomicU64,
    /// Somebody fetches ahead of time.
    ahead: AtomicBool,
}

struct Held {
    keys: Arc<KeySet>,
    expires: Instant,
}

impl Keys {
    pub(super) fn new(keys: &ir::JwtKeys) -> Self {
        match keys {
            ir::JwtKeys::Local(text) => Self::Fixed(KeySet::parse(text).ok().map(Arc::new)),
            ir::JwtKeys::Remote(config) => Self::Remote(Box::new(Remote {
                config: ir::RemoteJwks::clone(config),
                held: ArcSwapOption::empty(),
                fetching: tokio::sync::Mutex::default(),
                failures: AtomicU64::new(0),
                ahead: AtomicBool::new(false),
            })),
        }
    }

    /// The keys that are good now.
    pub(super) fn current(&self, now: Instant) -> Option<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => keys.clone(),
            Self::Remote(remote) => {
                let held = remote.held.load();
                let held = held.as_ref().filter(|held| remote.is_good(held, now))?;
                Some(held.keys.clone())
            }
        }
    }

    /// Whether keys must be fetched before a token can be verified.
    pub(super) fn is_wanting(&self, now: Instant) -> bool {
        matches!(self, Self::Remote(_)) && self.current(now).is_none()
    }

    /// Fetches the keys, unless somebody else has just done so.
    pub(super) async fn fetch(
        &self,
        worker: &WorkerContext,
        stats: &JwtAuthnStats,
    ) -> Result<Arc<KeySet>, Failure> {
        let Self::Remote(remote) = self else {
            return self.current(worker.clock.now()).ok_or(Failure::NoValidKeys);
        };
        let failures = remote.failures.load(Ordering::Relaxed);
        let _turn = remote.fetching.lock().await;
        if let Some(keys) = self.current(worker.clock.now()) {
            return Ok(keys);
        }
        if remote.failures.load(Ordering::Relaxed) != failures {
            return Err(Failure::Fetch);
        }
        remote.fetch(worker, stats).await
    }
}

impl Remote {
    /// Keys that are fetched ahead of time stay good until others replace them.
    fn is_good(&self, held: &Held, now: Instant) -> bool {
        self.config.ahead.is_some() || now < held.expires
    }

    async fn fetch(
        &self,
        worker: &WorkerContext,
        stats: &JwtAuthnStats,
    ) -> Result<Arc<KeySet>, Failure> {
        let uri = &self.config.uri;
        let mut call = Call::to(uri, Method::GET);
        // Envoy's, which identity providers have learnt to let pass.
        let agent = HeaderValue::from_static("Go-browser");
        call.headers.insert(header::USER_AGENT, agent);
        let answer = call.make(worker, &uri.cluster, self.config.retry).await;
        let body = match answer {
            Ok(answer) if answer.status == StatusCode::OK && !answer.body.is_empty() => answer.body,
            _ => {
                stats.jwks_fetch_failed.inc();
                self.failures.fetch_add(1, Ordering::Relaxed);
                return Err(Failure::Fetch);
            }
        };
        match KeySet::parse(&body) {
            Ok(keys) => {
                stats.jwks_fetch_success.inc();
                let keys = Arc::new(keys);
                self.held.store(Some(Arc::new(Held {
                    keys: keys.clone(),
                    expires: worker.clock.now() + self.config.cache,
                })));
                Ok(keys)
            }
            Err(_) => {
                stats.jwks_fetch_failed.inc();
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(Failure::Fetch)
            }
        }
    }
}

/// Fetches a provider's keys shortly before they run out, where that is wanted, and goes on until
/// it went well.
pub(super) fn fetch_ahead(shared: &Arc<Shared>, provider: &Provider, worker: &Rc<WorkerContext>) {
    let Keys::Remote(remote) = &provider.keys else {
        return;
    };
    let Some(pause) = remote.config.ahead else {
        return;
    };
    let due = remote
        .held
        .load()
        .as_ref()
        .is_some_and(|held| worker.clock.now() + AHEAD >= held.expires);
    if !due || remote.ahead.swap(true, Ordering::Relaxed) {
        return;
    }
    // The configuration may go in the meantime, and its keys with it.
    let (shared, worker) = (Arc::downgrade(shared), Rc::downgrade(worker));
    let name = provider.config.name.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (Some(shared), Some(worker)) = (shared.upgrade(), worker.upgrade()) else {
                return;
            };
            let provider = shared
                .providers
                .iter()
                .find(|provider| provider.config.name == name);
            let Some(Keys::Remote(remote)) = provider.map(|provider| &provider.keys) else {
                return;
            };
            let stats = shared.stats.shard(worker.worker);
            if remote.fetch(&worker, stats).await.is_ok() {
                remote.ahead.store(false, Ordering::Relaxed);
                return;
            }
            drop((shared, worker));
            tokio::time::sleep(pause).await;
        }
    });
}
