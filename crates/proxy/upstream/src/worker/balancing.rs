//! Which of a cluster's hosts is next on this worker.
//!
//! Follows the cluster's host set; keeps for each priority, and each kind of its hosts, the
//! order in which they are used.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use meltemi_ir::{Address, LbPolicy, Locality};

use tokio::time::Instant;

use super::{LbContext, WorkerCluster, WorkerHost};
use crate::lb::priority::{Among, Choice, PriorityLoads, percent};
use crate::lb::schedule::Schedule;
use crate::lb::subset::{Found, Group};
use crate::{HostEntry, HostHealth, HostSet, PriorityHosts};

/// The balancing state of one cluster.
#[derive(Default)]
pub(super) struct Balancing {
    generation: u64,
    set: Option<Arc<HostSet>>,
    hosts: HashMap<u64, Rc<WorkerHost>>,
    /// Hosts made on demand, for original destinations and for names.
    pub(super) by_destination: HashMap<Address, Rc<WorkerHost>>,
    whole: Orders,
    /// One for each subset, made when first needed.
    subsets: Vec<Option<Orders>>,
}

/// The orders in which the hosts of a set are used.
#[derive(Default)]
struct Orders {
    /// By priority, in the set's order.
    hosts: Vec<Vec<Rc<WorkerHost>>>,
    /// By priority, then healthy, degraded, all; each is made when first needed.
    priorities: Vec<[Option<Scheduled>; 3]>,
}

/// Hosts in localities, of which there is one unless they are weighted.
struct Scheduled {
    localities: Vec<ScheduledLocality>,
    order: Schedule,
}

struct ScheduledLocality {
    hosts: Vec<Rc<WorkerHost>>,
    order: Schedule,
}

impl Balancing {
    /// Whether it has seen a host set.
    pub(super) fn is_followed(&self) -> bool {
        self.generation != 0
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Rc<WorkerHost>> {
        self.hosts.values()
    }

    /// Takes over the cluster's hosts where they changed.
    #[inline]
    pub(super) fn follow(&mut self, cluster: &WorkerCluster) {
        let generation = cluster.generation();
        if generation != self.generation {
            self.generation = generation;
            self.take_over(cluster);
        }
    }

    fn take_over(&mut self, cluster: &WorkerCluster) {
        let config = cluster.shared.config();
        let set = Arc::clone(&cluster.shared.hosts());
        let mut gone = std::mem::take(&mut self.hosts);
        for entry in set.iter() {
            let id = entry.host.id();
            let host = gone
                .remove(&id)
                .unwrap_or_else(|| Rc::new(WorkerHost::new(Arc::clone(&entry.host), cluster)));
            let failed = entry.health == HostHealth::Unhealthy;
            if failed && config.close_connections_on_health_failure {
                host.pools.drain_idle();
            }
            self.hosts.insert(id, host);
        }
        let changed = !gone.is_empty();
        for host in gone.into_values() {
            host.pools.drain();
        }
        if changed && config.lb_settings.close_connections_on_change {
            for host in self.hosts.values() {
                host.pools.drain_idle();
            }
        }
        self.whole = Orders::new(&set, &self.hosts);
        let subsets = set.subsets.as_ref().map_or(0, |subsets| subsets.sets.len());
        self.subsets.clear();
        self.subsets.resize_with(subsets, || None);
        self.set = Some(set);
    }

    /// The next host; none where no host may get traffic.
    #[inline]
    pub(super) fn choose(
        &mut self,
        cluster: &WorkerCluster,
        context: &LbContext<'_>,
    ) -> Option<Rc<WorkerHost>> {
        let set = self.set.as_deref()?;
        if set.subsets.is_none() {
            return self.whole.choose(cluster, set, context);
        }
        self.choose_in_subset(cluster, context)
    }

    fn choose_in_subset(
        &mut self,
        cluster: &WorkerCluster,
        context: &LbContext<'_>,
    ) -> Option<Rc<WorkerHost>> {
        let set = self.set.clone()?;
        let subsets = set.subsets.as_deref()?;
        let settings = cluster.shared.config().subsets.as_ref()?;
        let stats = cluster.stats();
        match subsets.find(settings, context.metadata_match) {
            Found::Selected(subset) => {
                stats.lb_subsets_selected.inc();
                self.choose_among(cluster, &set, Group::Subset(subset), context)
            }
            Found::Fallback { group, or_whole } => {
                let chosen =
                    group.and_then(|group| self.choose_among(cluster, &set, group, context));
                if chosen.is_some() {
                    stats.lb_subsets_fallback.inc();
                    return chosen;
                }
                if !or_whole {
                    return None;
                }
                let chosen = self.whole.choose(cluster, &set, context)?;
                stats.lb_subsets_fallback_panic.inc();
                Some(chosen)
            }
        }
    }

    fn choose_among(
        &mut self,
        cluster: &WorkerCluster,
        set: &HostSet,
        group: Group,
        context: &LbContext<'_>,
    ) -> Option<Rc<WorkerHost>> {
        match group {
            Group::Whole => self.whole.choose(cluster, set, context),
            Group::Subset(index) => {
                let subset = set.subsets.as_deref()?.sets.get(index)?;
                let hosts = &self.hosts;
                let orders = self.subsets.get_mut(index)?;
                orders
                    .get_or_insert_with(|| Orders::new(subset, hosts))
                    .choose(cluster, subset, context)
            }
        }
    }
}

impl Orders {
    fn new(set: &HostSet, known: &HashMap<u64, Rc<WorkerHost>>) -> Self {
        let mut priorities = Vec::new();
        priorities.resize_with(set.priorities.len(), Default::default);
        let of = |hosts: &PriorityHosts| -> Vec<_> {
            let hosts = hosts.hosts.iter();
            hosts
                .filter_map(|entry| known.get(&entry.host.id()).cloned())
                .collect()
        };
        Self {
            hosts: set.priorities.iter().map(of).collect(),
            priorities,
        }
    }

    /// The next host that the context does not reject, or the last that was looked at.
    fn choose(
        &mut self,
        cluster: &WorkerCluster,
        set: &HostSet,
        context: &LbContext<'_>,
    ) -> Option<Rc<WorkerHost>> {
        let without;
        let mut loads = &set.loads;
        if context.tried_priorities != 0
            && let Some(rest) = set.loads.without(context.tried_priorities)
        {
            without = rest;
            loads = &without;
        }
        let mut chosen = self.choose_once(cluster, set, loads, context, 0)?;
        if context.rejects_some() {
            for attempt in 1..=context.max_attempts {
                if !context.rejects(&chosen) {
                    break;
                }
                chosen = self.choose_once(cluster, set, loads, context, attempt)?;
            }
        }
        Some(chosen)
    }

    #[inline]
    fn choose_once(
        &mut self,
        cluster: &WorkerCluster,
        set: &HostSet,
        loads: &PriorityLoads,
        context: &LbContext<'_>,
        attempt: u32,
    ) -> Option<Rc<WorkerHost>> {
        let random = &cluster.random;
        let config = cluster.shared.config();
        let goes_by_hash = matches!(config.lb, LbPolicy::RingHash(_) | LbPolicy::Maglev(_));
        let hash = goes_by_hash.then(|| context.hash.unwrap_or_else(|| random.bits()));
        let roll = || {
            let roll = hash.map_or_else(|| random.below(100), |hash| hash % 100);
            u32::try_from(roll).unwrap_or_default()
        };
        let choice = loads.choose(roll)?;
        let Choice { priority, among } = choice;
        if among == Among::All {
            cluster.stats().lb_healthy_panic.inc();
        }
        if loads.fails(choice) {
            return None;
        }
        if let Some(hash) = hash {
            let table = set.priorities.get(priority)?.tables[among.slot()].as_ref()?;
            let hosts = self.hosts.get(priority)?;
            let index = table.find(hash, attempt, |index| match index {
                Some(index) => hosts
                    .get(index as usize)
                    .map_or(0, |host| host.active_requests()),
                None => cluster.shared.active_requests(),
            });
            return hosts.get(index as usize).cloned();
        }
        let slot = among.slot();
        if self.priorities[priority][slot].is_none() {
            let made = self.schedule(cluster, set, priority, among);
            self.priorities[priority][slot] = made;
        }
        let scheduled = self.priorities[priority][slot].as_mut()?;
        let locality = scheduled.order.next(random, |_| 0, |_| 1.0)?;
        let ScheduledLocality { hosts, order } = scheduled.localities.get_mut(locality)?;
        let slow_start = match &config.lb {
            LbPolicy::RoundRobin { slow_start } => slow_start.as_ref(),
            LbPolicy::LeastRequest(least) => least.slow_start.as_ref(),
            _ => None,
        };
        let index = order.next(
            random,
            |index| hosts[index].active_requests(),
            |index| {
                slow_start.map_or(1.0, |slow_start| {
                    hosts[index].ramp(slow_start, Instant::now())
                })
            },
        )?;
        hosts.get(index).cloned()
    }

    fn schedule(
        &self,
        cluster: &WorkerCluster,
        set: &HostSet,
        priority: usize,
        among: Among,
    ) -> Option<Scheduled> {
        let all = &set.priorities[priority].hosts;
        let known = self.hosts.get(priority)?;
        let fits = |entry: &&HostEntry| among.fits(entry.health);
        let mut weights = Vec::new();
        let mut localities = Vec::new();
        let is_weighted = cluster.shared.config().lb_settings.locality_weighted
            && among != Among::All
            && all.iter().any(|entry| entry.locality_weight.is_some());
        for (weight, members) in localities_of(all, is_weighted) {
            let fitting: Vec<_> = members.iter().copied().filter(fits).collect();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            // A locality that lost hosts loses weight once overprovisioning is used up.
            let factor = set.settings.overprovisioning();
            let available = percent(count(fitting.len()), count(members.len()), factor);
            let weight = weight.saturating_mul(available);
            if weight > 0 {
                weights.push(weight);
                localities.push(schedule_locality(cluster, &fitting, known));
            }
        }
        Some(Scheduled {
            localities,
            order: Schedule::new(&LbPolicy::ROUND_ROBIN, weights, &cluster.random),
        })
    }
}

fn schedule_locality(
    cluster: &WorkerCluster,
    entries: &[&HostEntry],
    known: &[Rc<WorkerHost>],
) -> ScheduledLocality {
    let by_id: HashMap<u64, &Rc<WorkerHost>> = known.iter().map(|host| (host.id(), host)).collect();
    ScheduledLocality {
        hosts: entries
            .iter()
            .filter_map(|entry| by_id.get(&entry.host.id()).copied().cloned())
            .collect(),
        order: Schedule::new(
            &cluster.shared.config().lb,
            entries.iter().map(|entry| entry.weight).collect(),
            &cluster.random,
        ),
    }
}

/// The hosts by locality with its weight, or all together with a weight of 1.
fn localities_of(hosts: &[HostEntry], is_weighted: bool) -> Vec<(u32, Vec<&HostEntry>)> {
    if !is_weighted {
        return vec![(1, hosts.iter().collect())];
    }
    let mut localities: Vec<(&Locality, u32, Vec<&HostEntry>)> = Vec::new();
    for entry in hosts {
        let locality = entry.host.locality();
        let known = localities.iter_mut().find(|(other, ..)| *other == locality);
        match known {
            Some((_, _, members)) => members.push(entry),
            None => {
                let weight = entry.locality_weight.unwrap_or_default();
                localities.push((locality, weight, vec![entry]));
            }
        }
    }
    localities
        .into_iter()
        .map(|(_, weight, members)| (weight, members))
        .collect()
}
