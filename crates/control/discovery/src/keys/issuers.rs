//! The keys of those whose tokens the certificate authority believes.
//!
//! In: the issuers whose keys are at an address. Out: their keys, brought to where tokens are judged.
//! The times are those of the mesh's issuers: again every twenty minutes, sooner after a failure, and
//! until then those of before hold on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::{IssuerKeys, IssuerTokens};
use meltemi_lifecycle::{DrainSignal, Random};
use meltemi_model::KeySource;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::schedule::Schedule;
use super::{KeyClient, start_due};

/// How long fetching may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Fetches the keys of these issuers for ever.
pub(crate) struct IssuerFetcher {
    pub issuers: Vec<Arc<IssuerTokens>>,
    pub client: Arc<KeyClient>,
    pub random: Random,
}

impl IssuerFetcher {
    /// Runs until the drain.
    pub async fn run(self, mut drain: DrainSignal) {
        let mut schedule = Schedule::default();
        let mut wanted: BTreeMap<KeySource, Vec<Arc<IssuerTokens>>> = BTreeMap::new();
        for issuer in self.issuers {
            if let Some(source) = source(issuer.source()) {
                wanted.entry(source).or_default().push(issuer);
            }
        }
        let timeouts = wanted.keys().map(|it| (it.clone(), TIMEOUT)).collect();
        schedule.want(&timeouts, Instant::now());
        let mut fetching = JoinSet::new();
        loop {
            start_due(&mut schedule, &self.client, &mut fetching);
            let next = schedule.next();
            tokio::select! {
                () = drain.draining() => return,
                Some(Ok((source, fetched))) = fetching.join_next() => {
                    let issuers = wanted.get(&source).map_or(&[][..], Vec::as_slice);
                    let mut ok = true;
                    for issuer in issuers {
                        ok &= bring(issuer, &fetched);
                    }
                    schedule.done(&source, ok, Instant::now(), self.random.unit());
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                else => return,
            }
        }
    }
}

/// Hands over what was fetched; whether it was keys.
fn bring(issuer: &IssuerTokens, fetched: &Result<Arc<str>, String>) -> bool {
    let brought = match fetched {
        Ok(text) => issuer.bring(text).map_err(|error| error.to_string()),
        Err(error) => Err(error.clone()),
    };
    let name = issuer.issuer();
    match brought {
        Ok(()) => info!(issuer = name, "keys of a token issuer fetched"),
        Err(ref error) => warn!(
            issuer = name,
            "the keys of a token issuer cannot be had, and those of before hold on: {error}"
        ),
    }
    brought.is_ok()
}

fn source(keys: &IssuerKeys) -> Option<KeySource> {
    match keys {
        IssuerKeys::File(_) | IssuerKeys::Inline(_) => None,
        IssuerKeys::Uri(uri) => Some(KeySource::Uri(uri.clone())),
        IssuerKeys::Discovery(uri) => Some(KeySource::Discovery(uri.clone())),
    }
}
