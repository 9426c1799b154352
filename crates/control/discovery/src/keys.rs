//! The keys of token issuers (FEATURES S7).
//!
//! In: the states of the mesh, which say whose keys are wanted. Out: the keys, as changes for
//! [`crate::mesh`], or why they cannot be had. They are fetched again every twenty minutes, and sooner
//! after a failure; until then those of before hold on.

mod client;
mod issuers;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meltemi_lifecycle::{DrainSignal, Random};
use meltemi_model::KeySource;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::MeshState;
use crate::layers::Change;
use schedule::Schedule;

pub(crate) use client::KeyClient;
pub(crate) use issuers::IssuerFetcher;

/// Fetches keys for as long as somebody names them.
pub(crate) struct KeyFetcher {
    pub states: watch::Receiver<Arc<MeshState>>,
    pub changes: mpsc::UnboundedSender<Change>,
    pub client: Arc<KeyClient>,
    pub random: Random,
}

type Fetched = (KeySource, Result<Arc<str>, String>);

impl KeyFetcher {
    /// Runs until the drain, or until the mesh has ended.
    pub async fn run(mut self, mut drain: DrainSignal) {
        let mut schedule = Schedule::default();
        let mut fetching: JoinSet<Fetched> = JoinSet::new();
        loop {
            let wanted = wanted(&self.states.borrow_and_update());
            schedule.want(&wanted, Instant::now());
            start_due(&mut schedule, &self.client, &mut fetching);
            let next = schedule.next();
            tokio::select! {
                () = drain.draining() => return,
                changed = self.states.changed() => if changed.is_err() {
                    return;
                },
                Some(Ok((source, result))) = fetching.join_next() => {
                    let ok = result.is_ok();
                    schedule.done(&source, ok, Instant::now(), self.random.unit());
                    // Without a receiver the mesh has ended.
                    let _ended = self.changes.send(Change::Keys(source, result));
                }
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }
}

/// Starts what is due to be fetched.
fn start_due(schedule: &mut Schedule, client: &Arc<KeyClient>, fetching: &mut JoinSet<Fetched>) {
    for (source, timeout) in schedule.start(Instant::now()) {
        let client = client.clone();
        fetching.spawn(async move {
            let fetched = client.fetch(&source, timeout).await;
            (source, fetched.map_err(|error| error.to_string()))
        });
    }
}

/// Whose keys are wanted, and how long fetching them may take: the longest that is allowed.
fn wanted(state: &MeshState) -> BTreeMap<KeySource, Duration> {
    let mut wanted = BTreeMap::new();
    let policies = state.snapshot.request_authentications().iter();
    for rule in policies.flat_map(|it| &it.rules) {
        if !matches!(rule.keys, KeySource::Inline(_) | KeySource::None) {
            let timeout = wanted.entry(rule.keys.clone()).or_default();
            *timeout = rule.timeout.max(*timeout);
        }
    }
    wanted
}
