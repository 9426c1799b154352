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
    /// As `Deadline`, with weights divided by one more than the requests in flight.
    LeastByDeadline(Deadlines),
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
        let order = match policy {
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided if equal => {
                Order::Turn(usize::try_from(random.below(count)).unwrap_or_default())
            }
            LbPolicy::RoundRobin | LbPolicy::ClusterProvided => {
                let mut deadlines = Deadlines::default();
                for (index, weight) in weights.iter().enumerate() {
                    deadlines.add(index, f64::from(*weight));
                }
                // Workers that begin at the same host would overload it together.
                for _ in 0..random.below(count) {
                    deadlines.next(|index| f64::from(weights[index]));
                }
                Order::Deadline(deadlines)
            }
            LbPolicy::Random => Order::Random,
            LbPolicy::LeastRequest { choice_count } if equal => {
                Order::LeastOf((*choice_count).max(1))
            }
            LbPolicy::LeastRequest { choice_count: _ } => {
                let mut deadlines = Deadlines::default();
                for (index, weight) in weights.iter().enumerate() {
                    deadlines.add(index, f64::from(*weight));
                }
                for _ in 0..random.below(count) {
                    deadlines.next(|index| f64::from(weights[index]));
                }
                Order::LeastByDeadline(deadlines)
            }
        };
        Self { weights, order }
    }

    /// The next host's index; none where there are no hosts. `active` tells how many
    /// requests a host has in flight.
    pub(crate) fn next(&mut self, random: &Random, active: impl Fn(usize) -> u64) -> Option<usize> {
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
            Order::Deadline(deadlines) => deadlines.next(|index| f64::from(weights[index])),
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
            Order::LeastByDeadline(deadlines) => deadlines.next(|index| {
                #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
                let busy = (active(index) + 1) as f64;
                f64::from(weights[index]) / busy
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
