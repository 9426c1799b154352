//! Consistent hashing: a ring of points (ketama) or a table that hosts fill in turns
//! (Maglev). Hosts with their shares enter; the same hash finds the same host while hosts
//! come and go, and the same as in Envoy.

use meltemi_ir::{HashFunction, LbPolicy, Maglev, RingHash};

use super::hash::{MURMUR_SEED, murmur_hash2, xx_hash};

/// A host to be found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighted {
    /// Its place in the priority's list.
    pub(crate) index: u32,
    /// What it is known by.
    pub(crate) key: String,
    /// Its share; those of all hosts add up to 1.
    pub(crate) weight: f64,
}

/// A ring or a table, with the shares for bounded loads.
#[derive(Debug)]
pub(crate) struct HashTable {
    kind: Kind,
    /// Index and share of each host.
    shares: Vec<(u32, f64)>,
    balance_factor: Option<u32>,
    pub(crate) stats: TableStats,
}

/// What statistics show of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableStats {
    pub(crate) size: u64,
    pub(crate) min_per_host: u64,
    pub(crate) max_per_host: u64,
}

#[derive(Debug)]
enum Kind {
    /// Points by hash.
    Ring(Vec<(u64, u32)>),
    Table(Vec<u32>),
}

impl HashTable {
    /// None where there are no hosts, or the policy does not go by a hash.
    pub(crate) fn new(policy: &LbPolicy, hosts: &[Weighted]) -> Option<Self> {
        if hosts.is_empty() {
            return None;
        }
        let (kind, hashing, counts) = match policy {
            LbPolicy::RingHash(settings) => {
                let (ring, counts) = ring(settings, hosts);
                (Kind::Ring(ring), settings.hashing, counts)
            }
            LbPolicy::Maglev(settings) => {
                let (table, counts) = table(settings, hosts);
                (Kind::Table(table), settings.hashing, counts)
            }
            LbPolicy::RoundRobin { .. }
            | LbPolicy::Random
            | LbPolicy::LeastRequest(_)
            | LbPolicy::ClusterProvided => return None,
        };
        Some(Self {
            kind,
            shares: hosts.iter().map(|host| (host.index, host.weight)).collect(),
            balance_factor: hashing.balance_factor,
            stats: TableStats {
                size: counts.iter().sum(),
                min_per_host: counts.iter().copied().min().unwrap_or_default(),
                max_per_host: counts.iter().copied().max().unwrap_or_default(),
            },
        })
    }

    /// The host for a hash. `attempt` counts the hosts that were rejected before; `active`
    /// tells how many requests a host has in flight, or all together for none.
    pub(crate) fn find(&self, hash: u64, attempt: u32, active: impl Fn(Option<u32>) -> u64) -> u32 {
        let first = self.look_up(hash, attempt);
        match self.balance_factor {
            Some(factor) => self.bounded(hash, first, factor, active),
            None => first,
        }
    }

    fn look_up(&self, hash: u64, attempt: u32) -> u32 {
        match &self.kind {
            Kind::Ring(points) => {
                let at = points.partition_point(|(point, _)| *point < hash);
                points[(at + attempt as usize) % points.len()].1
            }
            Kind::Table(entries) => {
                let hash = if attempt > 0 {
                    hash ^ (u64::MAX - u64::from(attempt) + 1)
                } else {
                    hash
                };
                let at = hash % entries.len() as u64;
                entries[usize::try_from(at).unwrap_or_default()]
            }
        }
    }

    /// A host that has more than its share of the load gives way to another, which is the
    /// same one for the same hash.
    fn bounded(
        &self,
        hash: u64,
        first: u32,
        factor: u32,
        active: impl Fn(Option<u32>) -> u64,
    ) -> u32 {
        let slots = ((active(None) + 1) * u64::from(factor)).div_ceil(100);
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let overload = |index: u32, weight: f64| {
            let own = (slots as f64 * weight).ceil().max(1.0);
            active(Some(index)) as f64 / own
        };
        let weight = self.shares.iter().find(|(index, _)| *index == first);
        let mut best = (
            first,
            overload(first, weight.map_or(1.0, |(_, weight)| *weight)),
        );
        let mut order: Vec<_> = (0..self.shares.len()).collect();
        let mut seed = hash;
        for at in 0..order.len() {
            if best.1 <= 1.0 {
                return best.0;
            }
            let left = (order.len() - at) as u64;
            let other = at + usize::try_from(scramble(&mut seed) % left).unwrap_or_default();
            order.swap(at, other);
            let (index, weight) = self.shares[order[at]];
            let load = overload(index, weight);
            if index != first && load < best.1 {
                best = (index, load);
            }
        }
        best.0
    }
}

/// The next of a sequence of numbers that look random.
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Points by hash, and how many each host has.
fn ring(settings: &RingHash, hosts: &[Weighted]) -> (Vec<(u64, u32)>, Vec<u64>) {
    let RingHash {
        minimum_size,
        maximum_size,
        function,
        hashing: _, // ignored: keys are made, and loads bounded, elsewhere
    } = *settings;
    let least = hosts.iter().map(|host| host.weight).fold(1.0, f64::min);
    #[allow(clippy::cast_precision_loss, reason = "at most eight million")]
    let (minimum, maximum) = (minimum_size as f64, maximum_size as f64);
    // The host with the least weight gets a whole number of points.
    let scale = ((least * minimum).ceil() / least).min(maximum);
    let mut points = Vec::new();
    let mut counts = Vec::with_capacity(hosts.len());
    let (mut current, mut target) = (0.0, 0.0);
    let mut key = String::new();
    for host in hosts {
        target += scale * host.weight;
        let mut count = 0_u64;
        while current < target {
            key.clear();
            key.push_str(&host.key);
            key.push('_');
            key.push_str(&count.to_string());
            let hash = match function {
                HashFunction::XxHash => xx_hash(key.as_bytes(), 0),
                HashFunction::MurmurHash2 => murmur_hash2(key.as_bytes(), MURMUR_SEED),
            };
            points.push((hash, host.index));
            count += 1;
            current += 1.0;
        }
        counts.push(count);
    }
    points.sort_unstable();
    (points, counts)
}

/// The table, and how many entries each host has.
fn table(settings: &Maglev, hosts: &[Weighted]) -> (Vec<u32>, Vec<u64>) {
    struct Filling {
        index: u32,
        offset: u64,
        skip: u64,
        weight: f64,
        target: f64,
        next: u64,
        count: u64,
    }
    const FREE: u32 = u32::MAX;
    let size = settings.table_size.max(2);
    let mut sorted: Vec<_> = hosts.iter().collect();
    sorted.sort_by(|left, right| left.key.cmp(&right.key));
    let heaviest = hosts.iter().map(|host| host.weight).fold(0.0, f64::max);
    let mut fillings: Vec<_> = sorted
        .iter()
        .map(|host| Filling {
            index: host.index,
            offset: xx_hash(host.key.as_bytes(), 0) % size,
            skip: xx_hash(host.key.as_bytes(), 1) % (size - 1) + 1,
            weight: host.weight,
            target: 0.0,
            next: 0,
            count: 0,
        })
        .collect();
    let mut entries = vec![FREE; usize::try_from(size).unwrap_or_default()];
    let mut left = entries.len();
    let mut round = 1.0;
    while left > 0 {
        for filling in &mut fillings {
            if left == 0 {
                break;
            }
            // A host of half the greatest weight is passed over every other time.
            if round * filling.weight < filling.target {
                continue;
            }
            filling.target += heaviest;
            loop {
                let at = (filling.offset + filling.skip * filling.next) % size;
                filling.next += 1;
                let entry = &mut entries[usize::try_from(at).unwrap_or_default()];
                if *entry == FREE {
                    *entry = filling.index;
                    break;
                }
            }
            filling.count += 1;
            left -= 1;
        }
        round += 1.0;
    }
    (
        entries,
        fillings.iter().map(|filling| filling.count).collect(),
    )
}
