//! Which of some hosts is next: in turn, at random, or the least busy.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use meltemi_ir::LbPolicy;
use meltemi_lifecycle::Random;

/// The order in which one worker uses the hosts of one priority and health.
#[derive(Debug)]
pub(crate) struct Schedule {
    weights: Vec<u32>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// All weights are equal: each in turn.
    Turn(usize),
    /// Earliest deadline first: a host of weight `w` comes every `1/w`.
    Deadline(Deadlines),
    /// Uniformly at random.
    Random,
    /// All weights are equal: the least busy of so many random ones.
    LeastOf(u32),
    /// All weights are equal: the least busy of all, any of those that are equally so.
    LeastOfAll,
    /// As `Deadline`, with weights divided by this power of one more than the requests in
    /// flight.
    LeastByDeadline(Deadlines, f64),
}

#[derive(Debug, Default)]
struct Deadlines {
    now: f64,
    added: u64,
    heap: BinaryHeap<Entry>,
}

/// Ordered so that the heap's greatest is the earliest deadline, first come first served.
#[derive(Clone, Copy, Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    index: usize,
}

impl Schedule {
    pub(crate) fn new(policy: &LbPolicy, weights: Vec<u32>, random: &Random) -> Self {
        let equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let count = weights.len() as u64;
        let deadlines = || {
            let mut deadlines = Deadlines::default();
            for (index, weight) in weights.iter().enumerate() {
                deadlines.add(index, f64::from(*weight));
            }
            // Workers that begin at the same host would overload it together.
            for _ in 0..random.below(count) {
                deadlines.next(|index| f64::from(weights[index]));
            }
            deadlines
        };
        let order = match policy {
            LbPolicy::RoundRobin { slow_start: None } | LbPolicy::ClusterProvided if equal => {
                Order::Turn(usize::try_from(random.below(count)).unwrap_or_default())
            }
            LbPolicy::RoundRobin { slow_start: _ } | LbPolicy::ClusterProvided => {
                Order::Deadline(deadlines())
            }
            // Hashes are looked up in tables; who has none is sent anywhere.
            LbPolicy::Random | LbPolicy::RingHash(_) | LbPolicy::Maglev(_) => Order::Random,
            LbPolicy::LeastRequest(least) if equal && least.slow_start.is_none() => {
                if least.full_scan {
                    Order::LeastOfAll
                } else {
                    Order::LeastOf(least.choice_count.max(1))
                }
            }
            LbPolicy::LeastRequest(least) => {
                Order::LeastByDeadline(deadlines(), least.active_request_bias)
            }
        };
        Self { weights, order }
    }

    /// The next host's index; none where there are no hosts. `active` tells how many
    /// requests a host has in flight, `ramp` which share of its weight it has so far.
    pub(crate) fn next(
        &mut self,
        random: &Random,
        active: impl Fn(usize) -> u64,
        ramp: impl Fn(usize) -> f64,
    ) -> Option<usize> {
        let Self { weights, order } = self;
        let count = weights.len();
        if count <= 1 {
            return (count == 1).then_some(0);
        }
        let roll = || usize::try_from(random.below(count as u64)).unwrap_or_default();
        match order {
            Order::Turn(cursor) => {
                let index = *cursor;
                *cursor = if index + 1 >= count { 0 } else { index + 1 };
                Some(index)
            }
            Order::Deadline(deadlines) => {
                deadlines.next(|index| f64::from(weights[index]) * ramp(index))
            }
            Order::Random => Some(roll()),
            Order::LeastOf(choices) => {
                let mut best = roll();
                let mut best_active = active(best);
                for _ in 1..*choices {
                    let other = roll();
                    let other_active = active(other);
                    if other_active < best_active {
                        (best, best_active) = (other, other_active);
                    }
                }
                Some(best)
            }
            Order::LeastOfAll => {
                let mut best = (0, active(0));
                let mut ties = 1;
                for index in 1..count {
                    let busy = active(index);
                    if busy < best.1 {
                        (best, ties) = ((index, busy), 1);
                    } else if busy == best.1 {
                        ties += 1;
                        if random.below(ties) == 0 {
                            best = (index, busy);
                        }
                    }
                }
                Some(best.0)
            }
            Order::LeastByDeadline(deadlines, bias) => deadlines.next(|index| {
                #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
                let busy = (active(index) + 1) as f64;
                let busy = if *bias == 1.0 { busy } else { busy.powf(*bias) };
                f64::from(weights[index]) / busy * ramp(index)
            }),
        }
    }
}

impl Deadlines {
    fn add(&mut self, index: usize, weight: f64) {
        self.added += 1;
        self.heap.push(Entry {
            deadline: self.now + 1.0 / weight,
            order: self.added,
            index,
        });
    }

    /// Takes the earliest and puts it back by the weight it has now.
    fn next(&mut self, weight: impl Fn(usize) -> f64) -> Option<usize> {
        let entry = self.heap.pop()?;
        self.now = entry.deadline;
        self.add(entry.index, weight(entry.index));
        Some(entry.index)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .deadline
            .total_cmp(&self.deadline)
            .then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
