//! Who has registered, and what becomes of the entries: without I/O.
//!
//! In: streams of proxies that begin, report and end, the resources that count, time. Out: [`Step`]s,
//! each with its changes to the mesh. Called by [`super::Registrar`].
//!
//! All streams of a proxy count as one, that of its agent included. An entry stays for a while after the
//! last of them, so that who comes back finds everything as it was. The group's template counts when an
//! entry is made, and not for entries that are there, as with Istio, unless their workload comes back and says
//! something else of itself; a group that is deleted takes its
//! entries along, and one that comes back while their proxies are still connected makes them again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_model::{Config, Kind, ResourceId, WorkloadEntry, WorkloadGroup};
use meltemi_spiffe::SpiffeId;
use meltemi_xds_server::{Health, Refusal};
use rpds::RedBlackTreeMapSync;
use tokio::time::Instant;

use super::claim::{Claim, Wish};
use super::entry;
use crate::layers::Change;

/// The resources that count.
type Configs = RedBlackTreeMapSync<ResourceId, Arc<Config>>;

/// Who has registered.
#[derive(Debug)]
pub(super) struct Ledger {
    instance: String,
    grace: Duration,
    held: BTreeMap<ResourceId, Held>,
}

/// What happens to an entry.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub entry: ResourceId,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// It is made.
    Made(Box<WorkloadEntry>),
    /// Its workload is back.
    Back(Box<WorkloadEntry>),
    /// Its workload is not connected any more.
    Left(Box<WorkloadEntry>),
    /// It is taken away, for this reason.
    Gone(&'static str),
    /// Its workload reports this health.
    Health(Health),
    /// Of an entry that somebody has written nothing is known any more.
    Unknown,
}

/// A workload with streams, or one whose last stream has ended a short while ago.
#[derive(Debug)]
struct Held {
    claim: Claim,
    entry: Entry,
    streams: usize,
    /// When it is given up.
    ends: Option<Instant>,
    health: Option<Health>,
}

#[derive(Debug)]
enum Entry {
    /// It was made here, of this group.
    Made(Box<WorkloadEntry>, ResourceId),
    /// Somebody has written it.
    Written,
    /// Its group was deleted.
    Lost(ResourceId),
}

impl Ledger {
    pub fn new(instance: String, grace: Duration) -> Self {
        Self {
            instance,
            grace,
            held: BTreeMap::new(),
        }
    }

    /// A stream has begun: the entry that it is of, if there is to be one.
    pub fn connect(
        &mut self,
        claim: Claim,
        configs: &Configs,
        wall: SystemTime,
    ) -> Result<Option<(ResourceId, Vec<Step>)>, Refusal> {
        let id = claim.entry();
        let mut steps = Vec::new();
        let step = |what| Step {
            entry: id.clone(),
            what,
        };
        if let Some(held) = self.held.get_mut(&id)
            && let Entry::Made(entry, group_id) = &mut held.entry
        {
            check(&claim, entry)?;
            if held.streams == 0 {
                match group(configs, group_id) {
                    // It says something else of itself than before.
                    Some(group) if held.claim != claim => {
                        *entry = make(&id, &claim, group, (&self.instance, wall))?;
                        held.claim = claim;
                    }
                    Some(_) | None => entry::connected(entry, &self.instance, wall),
                }
                steps.push(step(What::Back(entry.clone())));
            }
            held.begin();
            return Ok(Some((id, steps)));
        }
        let entry = match (written(configs, &id), &claim.wish) {
            (Some(written), Wish::Written(_)) if !written.takes_reports() => return Ok(None),
            (Some(written), Wish::Written(_) | Wish::OfGroup(_)) => {
                check(&claim, written)?;
                Entry::Written
            }
            (None, Wish::Written(name)) => {
                return Err(Refusal::NotYet(format!(
                    "node.metadata.WORKLOAD_ENTRY: there is no WorkloadEntry {}/{name}; create it, or leave this out",
                    claim.namespace
                )));
            }
            (None, Wish::OfGroup(name)) => {
                let group_id = claim.resource(Kind::WorkloadGroup, name);
                let group = group(configs, &group_id).ok_or_else(|| {
                    Refusal::NotYet(format!(
                        "node.metadata.AUTO_REGISTER_GROUP: there is no WorkloadGroup {}/{name}; create the WorkloadGroup {name} in the namespace {}",
                        claim.namespace, claim.namespace
                    ))
                })?;
                let entry = make(&id, &claim, group, (&self.instance, wall))?;
                steps.push(step(What::Made(entry.clone())));
                Entry::Made(entry, group_id)
            }
        };
        let held = self.held.entry(id.clone()).or_insert_with(|| Held {
            claim: claim.clone(),
            entry: Entry::Written,
            streams: 0,
            ends: None,
            health: None,
        });
        held.claim = claim;
        held.entry = entry;
        held.begin();
        Ok(Some((id, steps)))
    }

    /// The workload of an entry reports its health.
    pub fn report(&mut self, id: &ResourceId, health: Health) -> Vec<Step> {
        let Some(held) = self.held.get_mut(id) else {
            return Vec::new();
        };
        if held.health.as_ref() == Some(&health) || matches!(held.entry, Entry::Lost(_)) {
            return Vec::new();
        }
        held.health = Some(health.clone());
        vec![Step {
            entry: id.clone(),
            what: What::Health(health),
        }]
    }

    /// A stream has ended.
    pub fn disconnect(&mut self, id: &ResourceId, now: Instant, wall: SystemTime) -> Vec<Step> {
        let Some(held) = self.held.get_mut(id) else {
            return Vec::new();
        };
        held.streams = held.streams.saturating_sub(1);
        if held.streams > 0 {
            return Vec::new();
        }
        held.ends = Some(now + self.grace);
        match &mut held.entry {
            Entry::Made(entry, _) => {
                entry::disconnected(entry, wall);
                vec![Step {
                    entry: id.clone(),
                    what: What::Left(entry.clone()),
                }]
            }
            Entry::Written | Entry::Lost(_) => Vec::new(),
        }
    }

    /// When the next entry is given up.
    pub fn due(&self) -> Option<Instant> {
        self.held.values().filter_map(|it| it.ends).min()
    }

    /// Gives up the entries whose workloads have not come back in time.
    pub fn expire(&mut self, now: Instant) -> Vec<Step> {
        let over = |held: &Held| held.ends.is_some_and(|it| it <= now);
        let mut steps = Vec::new();
        self.held.retain(|id, held| {
            if !over(held) {
                return true;
            }
            let what = match &held.entry {
                Entry::Made(..) => What::Gone("its workload has not come back"),
                Entry::Written if held.health.is_some() => What::Unknown,
                Entry::Written | Entry::Lost(_) => return false,
            };
            steps.push(Step {
                entry: id.clone(),
                what,
            });
            false
        });
        steps
    }

    /// The resources are others: entries go with their groups, and come back with them.
    pub fn follow(&mut self, configs: &Configs, wall: SystemTime) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut found = Vec::new();
        for (id, held) in &mut self.held {
            match &held.entry {
                Entry::Made(_, of) if group(configs, of).is_none() => {
                    held.entry = Entry::Lost(of.clone());
                    held.health = None;
                    steps.push(Step {
                        entry: id.clone(),
                        what: What::Gone("its WorkloadGroup was deleted"),
                    });
                }
                Entry::Lost(of) if held.streams > 0 => {
                    let back = group(configs, of);
                    found.extend(back.map(|it| (id.clone(), held.claim.clone(), of.clone(), it)));
                }
                Entry::Made(..) | Entry::Written | Entry::Lost(_) => {}
            }
        }
        for (id, claim, of, group) in found {
            // Who may not have it is told so at the next connection.
            let Ok(made) = make(&id, &claim, group, (&self.instance, wall)) else {
                continue;
            };
            steps.push(Step {
                entry: id.clone(),
                what: What::Made(made.clone()),
            });
            if let Some(held) = self.held.get_mut(&id) {
                held.entry = Entry::Made(made, of);
            }
        }
        steps
    }
}

impl Held {
    fn begin(&mut self) {
        self.streams += 1;
        self.ends = None;
    }
}

impl Step {
    /// What it is for the mesh.
    pub fn changes(self) -> Vec<Change> {
        let Self { entry, what } = self;
        match what {
            What::Made(made) | What::Back(made) | What::Left(made) => {
                vec![Change::Apply(Box::new(Config::WorkloadEntry(*made)))]
            }
            What::Gone(_) => vec![Change::Health(entry.clone(), None), Change::Delete(entry)],
            What::Health(health) => vec![Change::Health(entry, Some(health.is_ok()))],
            What::Unknown => vec![Change::Health(entry, None)],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, what } = self;
        match what {
            What::Made(made) if made.takes_reports() => {
                write!(f, "{entry}: registered, with health checks")
            }
            What::Made(_) => write!(f, "{entry}: registered"),
            What::Back(_) => write!(f, "{entry}: its workload is back"),
            What::Left(_) => write!(f, "{entry}: its workload has left"),
            What::Gone(reason) => write!(f, "{entry}: removed, {reason}"),
            What::Health(Ok(())) => write!(f, "{entry}: healthy"),
            What::Health(Err(reason)) => write!(f, "{entry}: not healthy: {reason}"),
            What::Unknown => write!(f, "{entry}: nobody reports its health any more"),
        }
    }
}

/// The entry of a workload that is connected to this control plane since then, if it may have it.
fn make(
    id: &ResourceId,
    claim: &Claim,
    group: &WorkloadGroup,
    (instance, since): (&str, SystemTime),
) -> Result<Box<WorkloadEntry>, Refusal> {
    let mut entry = entry::made(id, claim, group);
    check(claim, &entry)?;
    entry::connected(&mut entry, instance, since);
    Ok(Box::new(entry))
}

/// The group with this id.
fn group<'a>(configs: &'a Configs, id: &ResourceId) -> Option<&'a WorkloadGroup> {
    match configs.get(id)?.as_ref() {
        Config::WorkloadGroup(group) => Some(group),
        _ => None,
    }
}

/// The entry with this id, if nobody has made it of a group.
fn written<'a>(configs: &'a Configs, id: &ResourceId) -> Option<&'a WorkloadEntry> {
    match configs.get(id)?.as_ref() {
        Config::WorkloadEntry(it) => it.meta.annotation(entry::GROUP).is_none().then_some(it),
        _ => None,
    }
}

/// Whether the workload may be this entry's.
fn check(claim: &Claim, entry: &WorkloadEntry) -> Result<(), Refusal> {
    let meta = &entry.meta;
    let Some(id) = &claim.identity else {
        return Err(Refusal::Denied(format!(
            "WorkloadEntry {meta} takes a proven identity: connect over TLS, with a token or a certificate of the mesh"
        )));
    };
    let (namespace, account) = id.namespace_and_account().unwrap_or_default();
    if namespace != meta.namespace.as_str() {
        return Err(denied(id, meta, &format!("namespace {}", meta.namespace)));
    }
    match entry.endpoint.service_account.as_deref() {
        Some(wanted) if wanted != account => {
            Err(denied(id, meta, &format!("service account {wanted}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn denied(id: &SpiffeId, entry: &meltemi_model::Metadata, wanted: &str) -> Refusal {
    Refusal::Denied(format!(
        "{id} may not be WorkloadEntry {entry}, which is for the {wanted}"
    ))
}

#[cfg(test)]
mod tests;
