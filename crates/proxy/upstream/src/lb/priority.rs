//! How traffic is split among priorities, by Envoy's arithmetic in whole percents.
//!
//! A priority's availability is its share of healthy hosts times the overprovisioning
//! factor of 1.4, at most 100. Load goes to the first priorities up to their availability,
//! then spills over; first to healthy hosts of all priorities, then to degraded ones. A
//! priority is in panic, and uses all its hosts, when all priorities together cannot take
//! 100 and too few of its own hosts are available.

use crate::HostHealth;

/// 1.4, in percent.
pub(crate) const OVERPROVISIONING: u32 = 140;

/// How many hosts a priority has, or how much they weigh.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PriorityCounts {
    /// All hosts, by number.
    pub(crate) hosts: u32,
    /// Those that count.
    pub(crate) total: u32,
    pub(crate) healthy: u32,
    pub(crate) degraded: u32,
}

/// How the split is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSettings {
    /// In percent; 0 turns panic off.
    pub(crate) panic_threshold: f64,
    /// In percent.
    pub(crate) overprovisioning: u32,
    /// In panic nothing is sent.
    pub(crate) fail_on_panic: bool,
}

/// The split. All percents of both lists add up to 100, or to 0 without any host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PriorityLoads {
    pub(crate) healthy: Vec<u32>,
    pub(crate) degraded: Vec<u32>,
    pub(crate) panic: Vec<bool>,
    /// What `healthy` and `degraded` were made of, for tries that leave out priorities.
    available: (Vec<u32>, Vec<u32>),
    fail_on_panic: bool,
    /// The priority that has all the load, for the usual case.
    only: Option<Choice>,
}

/// Which hosts of which priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) priority: usize,
    pub(crate) among: Among,
}

/// Which hosts of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    Healthy,
    Degraded,
    /// All, in panic.
    All,
}

impl Among {
    /// A place of its own for each, below 3.
    pub(crate) fn slot(self) -> usize {
        match self {
            Self::Healthy => 0,
            Self::Degraded => 1,
            Self::All => 2,
        }
    }

    /// Whether a host of this health is one of them.
    pub(crate) fn fits(self, health: HostHealth) -> bool {
        match self {
            Self::Healthy => health == HostHealth::Healthy,
            Self::Degraded => health == HostHealth::Degraded,
            Self::All => true,
        }
    }
}

impl PriorityLoads {
    pub(crate) fn new(counts: &[PriorityCounts], settings: LoadSettings) -> Self {
        let LoadSettings {
            panic_threshold,
            overprovisioning,
            fail_on_panic,
        } = settings;
        let availability = |part: fn(&PriorityCounts) -> u32| -> Vec<u32> {
            counts
                .iter()
                .map(|count| percent(part(count), count.total, overprovisioning))
                .collect()
        };
        let healthy = availability(|count| count.healthy);
        let degraded = availability(|count| count.degraded);
        let total = healthy.iter().chain(&degraded).sum::<u32>().min(100);
        let mut loads = Self {
            panic: counts
                .iter()
                .map(|count| {
                    panic_threshold > 0.0 && total < 100 && in_panic(count, panic_threshold)
                })
                .collect(),
            available: (healthy.clone(), degraded.clone()),
            healthy,
            degraded,
            fail_on_panic,
            only: None,
        };
        if total == 0 {
            loads.split_by_size(counts, panic_threshold > 0.0);
        } else {
            loads.split(total);
        }
        loads.only = loads.find_only();
        loads
    }

    /// The split where some priorities were tried before (bits by priority) and others are
    /// there; as it is where none is.
    pub(crate) fn without(&self, tried: u128) -> Option<Self> {
        let keep = |list: &[u32]| -> Vec<u32> {
            let is_tried = |at: usize| at < 128 && tried >> at & 1 == 1;
            let kept = |(at, load): (usize, &u32)| if is_tried(at) { 0 } else { *load };
            list.iter().enumerate().map(kept).collect()
        };
        let (healthy, degraded) = (keep(&self.available.0), keep(&self.available.1));
        let total = healthy.iter().chain(&degraded).sum::<u32>().min(100);
        if total == 0 {
            return None;
        }
        let mut loads = Self {
            panic: self.panic.clone(),
            available: self.available.clone(),
            healthy,
            degraded,
            fail_on_panic: self.fail_on_panic,
            only: None,
        };
        loads.split(total);
        loads.only = loads.find_only();
        Some(loads)
    }

    /// Which of a priority's hosts may be chosen.
    pub(crate) fn used(&self, priority: usize) -> Vec<Among> {
        if self.panic.get(priority) == Some(&true) {
            return vec![Among::All];
        }
        let has = |list: &[u32]| list.get(priority).is_some_and(|load| *load > 0);
        let mut used = Vec::new();
        if has(&self.available.0) || has(&self.healthy) {
            used.push(Among::Healthy);
        }
        if has(&self.available.1) || has(&self.degraded) {
            used.push(Among::Degraded);
        }
        used
    }

    /// Whether nothing is to be sent because of panic.
    pub(crate) fn fails(&self, choice: Choice) -> bool {
        self.fail_on_panic && choice.among == Among::All
    }

    /// The priority and kind of hosts for a random number below 100; none without hosts.
    pub(crate) fn choose(&self, roll: impl FnOnce() -> u32) -> Option<Choice> {
        if self.only.is_some() {
            return self.only;
        }
        let mut left = roll();
        let lists = [
            (&self.healthy, Among::Healthy),
            (&self.degraded, Among::Degraded),
        ];
        for (list, among) in lists {
            for (priority, load) in list.iter().enumerate() {
                if left < *load {
                    return Some(self.choice(priority, among));
                }
                left -= load;
            }
        }
        None
    }

    fn choice(&self, priority: usize, among: Among) -> Choice {
        let among = if self.panic[priority] {
            Among::All
        } else {
            among
        };
        Choice { priority, among }
    }

    fn find_only(&self) -> Option<Choice> {
        let find = |list: &[u32]| list.iter().position(|load| *load == 100);
        if let Some(priority) = find(&self.healthy) {
            return Some(self.choice(priority, Among::Healthy));
        }
        find(&self.degraded).map(|priority| self.choice(priority, Among::Degraded))
    }

    /// Availabilities become loads; `total` is their sum, at most 100.
    fn split(&mut self, total: u32) {
        let mut left = 100;
        let first_healthy = self.healthy.iter().position(|health| *health > 0);
        let first_degraded = self.degraded.iter().position(|health| *health > 0);
        for load in self.healthy.iter_mut().chain(&mut self.degraded) {
            *load = (*load * 100 / total).min(left);
            left -= *load;
        }
        // What rounding left goes to the most preferred.
        match (first_healthy, first_degraded) {
            (Some(priority), _) => self.healthy[priority] += left,
            (None, Some(priority)) => self.degraded[priority] += left,
            (None, None) => {}
        }
    }

    /// Nothing is available: by the number of hosts, all of which are used in panic.
    fn split_by_size(&mut self, counts: &[PriorityCounts], panic: bool) {
        let total: u64 = counts.iter().map(|count| u64::from(count.hosts)).sum();
        if total == 0 || !panic {
            return;
        }
        let mut left = 100;
        for (load, count) in self.healthy.iter_mut().zip(counts) {
            let share = 100 * u64::from(count.hosts) / total;
            *load = u32::try_from(share).unwrap_or(100).min(left);
            left -= *load;
        }
        if let Some(first) = counts.iter().position(|count| count.hosts > 0) {
            self.healthy[first] += left;
        }
    }
}

/// The availability of a priority or locality, at most 100.
pub(crate) fn percent(part: u32, total: u32, overprovisioning: u32) -> u32 {
    if total == 0 {
        return 0;
    }
    let percent = u64::from(overprovisioning) * u64::from(part) / u64::from(total);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

fn in_panic(count: &PriorityCounts, threshold: f64) -> bool {
    if count.total == 0 {
        return true;
    }
    let available = f64::from(count.healthy) + f64::from(count.degraded);
    100.0 * available / f64::from(count.total) < threshold.min(100.0)
}
