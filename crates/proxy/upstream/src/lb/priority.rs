//! How traffic is split among priorities, by Envoy's arithmetic in whole percents.
//!
//! A priority's availability is its share of healthy hosts times the overprovisioning
//! factor of 1.4, at most 100. Load goes to the first priorities up to their availability,
//! then spills over; first to healthy hosts of all priorities, then to degraded ones. A
//! priority is in panic, and uses all its hosts, when all priorities together cannot take
//! 100 and too few of its own hosts are available.

/// 1.4, in percent.
const OVERPROVISIONING: u64 = 140;

/// How many hosts a priority has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PriorityCounts {
    pub(crate) total: u32,
    pub(crate) healthy: u32,
    pub(crate) degraded: u32,
}

/// The split. All percents of both lists add up to 100, or to 0 without any host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PriorityLoads {
    pub(crate) healthy: Vec<u32>,
    pub(crate) degraded: Vec<u32>,
    pub(crate) panic: Vec<bool>,
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

impl PriorityLoads {
    pub(crate) fn new(counts: &[PriorityCounts], panic_threshold: f64) -> Self {
        let availability = |part: fn(&PriorityCounts) -> u32| -> Vec<u32> {
            counts
                .iter()
                .map(|count| percent(part(count), count.total))
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
            healthy,
            degraded,
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
        let total: u64 = counts.iter().map(|count| u64::from(count.total)).sum();
        if total == 0 || !panic {
            return;
        }
        let mut left = 100;
        for (load, count) in self.healthy.iter_mut().zip(counts) {
            let share = 100 * u64::from(count.total) / total;
            *load = u32::try_from(share).unwrap_or(100).min(left);
            left -= *load;
        }
        if let Some(first) = counts.iter().position(|count| count.total > 0) {
            self.healthy[first] += left;
        }
    }
}

/// The availability of a priority or locality, at most 100.
pub(crate) fn percent(part: u32, total: u32) -> u32 {
    if total == 0 {
        return 0;
    }
    let percent = OVERPROVISIONING * u64::from(part) / u64::from(total);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

fn in_panic(count: &PriorityCounts, threshold: f64) -> bool {
    if count.total == 0 {
        return true;
    }
    let available = f64::from(count.healthy) + f64::from(count.degraded);
    100.0 * available / f64::from(count.total) < threshold.min(100.0)
}
