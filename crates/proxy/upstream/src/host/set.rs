//! The hosts of a cluster, or of a subset of it, at one time.

use std::collections::HashMap;
use std::sync::Arc;

use meltemi_ir::{Cluster as Config, ConsistentHashing, LbPolicy, Locality};

use super::{HealthFlags, Host, HostHealth};
use crate::lb::hashing::{HashTable, TableStats, Weighted};
use crate::lb::priority::{Among, LoadSettings, OVERPROVISIONING, PriorityCounts, PriorityLoads};
use crate::lb::subset::Subsets;

/// The hosts of a cluster at one time, with how traffic is split among priorities.
#[derive(Debug, Default)]
pub struct HostSet {
    /// By priority, 0 first; a gap in the priorities is an empty set.
    pub priorities: Vec<PriorityHosts>,
    pub(crate) loads: PriorityLoads,
    pub(crate) settings: SetSettings,
    /// Groups of these hosts, where the cluster makes any.
    pub(crate) subsets: Option<Box<Subsets>>,
}

/// The hosts of one priority.
#[derive(Debug, Default)]
pub struct PriorityHosts {
    /// All of them.
    pub hosts: Vec<HostEntry>,
    /// For policies that go by a hash: what all workers look a hash up in, for the hosts that
    /// the split chooses.
    pub(crate) tables: [Option<Box<HashTable>>; 3],
}

/// A host with what balancing wants to know at the time of the set.
#[derive(Clone, Debug)]
pub struct HostEntry {
    /// The host.
    pub host: Arc<Host>,
    /// Its weight, at least 1.
    pub weight: u32,
    /// Whether it gets traffic.
    pub health: HostHealth,
    /// Its locality's weight; none is no weight at all.
    pub locality_weight: Option<u32>,
}

/// What a load assignment says of all its hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetSettings {
    pub(crate) overprovisioning_factor: Option<u32>,
    pub(crate) weighted_priority_health: bool,
}

impl HostSet {
    pub(crate) fn new(
        entries: Vec<(u32, HostEntry)>,
        settings: SetSettings,
        config: &Config,
    ) -> Self {
        let mut priorities: Vec<PriorityHosts> = Vec::new();
        for (priority, entry) in entries {
            let index = priority as usize;
            if priorities.len() <= index {
                // As much as is needed and no more: most clusters have one, and there are thousands.
                priorities.reserve_exact(index + 1 - priorities.len());
                priorities.resize_with(index + 1, PriorityHosts::default);
            }
            priorities[index].hosts.push(entry);
        }
        for priority in &mut priorities {
            priority.hosts.shrink_to_fit();
        }
        let counts: Vec<_> = priorities
            .iter()
            .map(|hosts| hosts.counts(settings, config))
            .collect();
        let load_settings = LoadSettings {
            panic_threshold: config.lb_settings.panic_threshold_percent,
            overprovisioning: settings.overprovisioning(),
            fail_on_panic: config.lb_settings.fail_traffic_on_panic,
        };
        let mut set = Self {
            priorities,
            loads: PriorityLoads::new(&counts, load_settings),
            settings,
            subsets: None,
        };
        set.make_tables(config);
        set
    }

    /// Every host.
    pub fn iter(&self) -> impl Iterator<Item = &HostEntry> {
        self.priorities.iter().flat_map(|hosts| &hosts.hosts)
    }

    /// The hosts with their priorities.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &HostEntry)> {
        (0..)
            .zip(&self.priorities)
            .flat_map(|(priority, hosts)| hosts.hosts.iter().map(move |entry| (priority, entry)))
    }

    /// The extremes of what is shown of the tables; none where the policy needs none.
    pub(crate) fn table_stats(&self) -> Option<TableStats> {
        let tables = self.priorities.iter().flat_map(|hosts| &hosts.tables);
        tables.flatten().map(|table| table.stats).next_back()
    }

    fn make_tables(&mut self, config: &Config) {
        let hashing = match &config.lb {
            LbPolicy::RingHash(ring) => ring.hashing,
            LbPolicy::Maglev(maglev) => maglev.hashing,
            LbPolicy::RoundRobin { .. }
            | LbPolicy::Random
            | LbPolicy::LeastRequest(_)
            | LbPolicy::ClusterProvided => return,
        };
        for (priority, hosts) in self.priorities.iter_mut().enumerate() {
            for among in self.loads.used(priority) {
                let weighted = hosts.weighted(among, config, hashing);
                let table = HashTable::new(&config.lb, &weighted);
                hosts.tables[among.slot()] = table.map(Box::new);
            }
        }
    }
}

impl SetSettings {
    /// In percent.
    pub(crate) fn overprovisioning(self) -> u32 {
        self.overprovisioning_factor.unwrap_or(OVERPROVISIONING)
    }
}

impl PriorityHosts {
    fn counts(&self, settings: SetSettings, config: &Config) -> PriorityCounts {
        let mut counts = PriorityCounts::default();
        let ignores_new = config.lb_settings.ignore_new_hosts_until_first_check;
        for entry in &self.hosts {
            let flags = entry.host.flags();
            let is_excluded = flags.intersects(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
                || (ignores_new && flags.intersects(HealthFlags::PENDING_ACTIVE_HC));
            let one = if settings.weighted_priority_health {
                entry.weight
            } else {
                1
            };
            counts.hosts += 1;
            if is_excluded {
                continue;
            }
            counts.total = counts.total.saturating_add(one);
            match entry.health {
                HostHealth::Healthy => counts.healthy = counts.healthy.saturating_add(one),
                HostHealth::Degraded => counts.degraded = counts.degraded.saturating_add(one),
                HostHealth::Unhealthy => {}
            }
        }
        counts
    }

    /// The fitting hosts with their shares, which add up to 1.
    fn weighted(&self, among: Among, config: &Config, hashing: ConsistentHashing) -> Vec<Weighted> {
        let by_locality = config.lb_settings.locality_weighted
            && self
                .hosts
                .iter()
                .any(|entry| entry.locality_weight.is_some());
        let fitting: Vec<_> = (0..)
            .zip(&self.hosts)
            .filter(|(_, entry)| among.fits(entry.health))
            .filter(|(_, entry)| !by_locality || entry.locality_weight.is_some())
            .collect();
        // By locality, or for all together: its weight, and the sum of its hosts' weights.
        let mut localities: HashMap<Option<&Locality>, (f64, f64)> = HashMap::new();
        for (_, entry) in &fitting {
            let key = by_locality.then(|| entry.host.locality());
            let weight = entry.locality_weight.filter(|_| by_locality).unwrap_or(1);
            let known = localities.entry(key).or_insert((f64::from(weight), 0.0));
            known.1 += f64::from(entry.weight);
        }
        let all: f64 = localities.values().map(|(weight, _)| weight).sum();
        fitting
            .iter()
            .map(|(index, entry)| {
                let key = by_locality.then(|| entry.host.locality());
                let (weight, sum) = localities.get(&key).copied().unwrap_or((1.0, 1.0));
                Weighted {
                    index: *index,
                    key: hash_key(&entry.host, hashing),
                    weight: weight / all * f64::from(entry.weight) / sum,
                }
            })
            .collect()
    }
}

/// What a host is known by on a ring or in a table.
fn hash_key(host: &Host, hashing: ConsistentHashing) -> String {
    let attributes = host.attributes();
    let given = attributes.metadata.get("envoy.lb", "hash_key");
    match given.and_then(|value| value.as_str()) {
        Some(key) if !key.is_empty() => key.to_owned(),
        _ if hashing.use_hostname => host.hostname().to_owned(),
        _ => host.address().to_string(),
    }
}
