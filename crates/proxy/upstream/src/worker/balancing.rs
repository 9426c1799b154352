//! Which of a cluster's hosts is next on this worker.
//!
//! Follows the cluster's host set; keeps for each priority, and each kind of its hosts, the
//! order in which they are used.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use meltemi_ir::{LbPolicy, Locality};

use super::{WorkerCluster, WorkerHost};
use crate::lb::priority::{Among, Choice, percent};
use crate::lb::schedule::Schedule;
use crate::{HostEntry, HostHealth, HostSet};

/// The balancing state of one cluster.
#[derive(Default)]
pub(super) struct Balancing {
    generation: u64,
    set: Option<Arc<HostSet>>,
    hosts: HashMap<u64, Rc<WorkerHost>>,
    /// Hosts made on demand, for original destinations.
    pub(super) by_destination: HashMap<SocketAddr, Rc<WorkerHost>>,
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
        let set = Arc::clone(&cluster.shared.hosts());
        let mut gone = std::mem::take(&mut self.hosts);
        for entry in set.iter() {
            let id = entry.host.id();
            let host = gone
                .remove(&id)
                .unwrap_or_else(|| Rc::new(WorkerHost::new(Arc::clone(&entry.host), cluster)));
            self.hosts.insert(id, host);
        }
        for host in gone.into_values() {
            host.pools.drain();
        }
        self.priorities.clear();
        self.priorities
            .resize_with(set.priorities.len(), Default::default);
        self.set = Some(set);
    }

    /// The next host; none where no host may get traffic.
    pub(super) fn choose(&mut self, cluster: &WorkerCluster) -> Option<Rc<WorkerHost>> {
        let random = &cluster.random;
        let set = self.set.as_ref()?;
        let roll = || u32::try_from(random.below(100)).unwrap_or_default();
        let Choice { priority, among } = set.loads.choose(roll)?;
        if among == Among::All {
            cluster.stats().lb_healthy_panic.inc();
        }
        let slot = match among {
            Among::Healthy => 0,
            Among::Degraded => 1,
            Among::All => 2,
        };
        if self.priorities[priority][slot].is_none() {
            let made = self.schedule(cluster, priority, among);
            self.priorities[priority][slot] = made;
        }
        let scheduled = self.priorities[priority][slot].as_mut()?;
        let locality = scheduled.order.next(random, |_| 0)?;
        let ScheduledLocality { hosts, order } = scheduled.localities.get_mut(locality)?;
        let index = order.next(random, |index| hosts[index].active_requests())?;
        hosts.get(index).cloned()
    }

    fn schedule(
        &self,
        cluster: &WorkerCluster,
        priority: usize,
        among: Among,
    ) -> Option<Scheduled> {
        let all = &self.set.as_ref()?.priorities[priority].hosts;
        let fits = |entry: &&HostEntry| match among {
            Among::Healthy => entry.health == HostHealth::Healthy,
            Among::Degraded => entry.health == HostHealth::Degraded,
            Among::All => true,
        };
        let mut weights = Vec::new();
        let mut localities = Vec::new();
        let is_weighted = cluster.shared.config().locality_weighted
            && among != Among::All
            && all.iter().any(|entry| entry.locality_weight.is_some());
        for (weight, members) in localities_of(all, is_weighted) {
            let fitting: Vec<_> = members.iter().copied().filter(fits).collect();
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            // A locality that lost hosts loses weight once overprovisioning is used up.
            let available = percent(count(fitting.len()), count(members.len()));
            let weight = weight.saturating_mul(available);
            if weight > 0 {
                weights.push(weight);
                localities.push(self.schedule_locality(cluster, &fitting));
            }
        }
        Some(Scheduled {
            localities,
            order: Schedule::new(&LbPolicy::RoundRobin, weights, &cluster.random),
        })
    }

    fn schedule_locality(
        &self,
        cluster: &WorkerCluster,
        entries: &[&HostEntry],
    ) -> ScheduledLocality {
        let weights = entries.iter().map(|entry| entry.weight).collect();
        ScheduledLocality {
            hosts: entries
                .iter()
                .filter_map(|entry| self.hosts.get(&entry.host.id()).cloned())
                .collect(),
            order: Schedule::new(&cluster.shared.config().lb, weights, &cluster.random),
        }
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
