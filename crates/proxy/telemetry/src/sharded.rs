//! One copy of a statistics block for each worker, so that no two write to a cache line.

use meltemi_lifecycle::WorkerId;

/// A `T` for each worker and one for the main thread, each on cache lines of its own.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Padded<T>]>);

// Two lines: the prefetcher of current x86 processors fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Sharded<T> {
    /// For `workers` workers and the main thread.
    pub fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Padded::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The worker's own copy; the main thread's for [`WorkerId::MAIN`] and any unknown worker.
    #[inline]
    pub fn shard(&self, worker: WorkerId) -> &T {
        let main = self.0.len() - 1;
        &self.0[worker.0.min(main)].0
    }

    /// The main thread's copy.
    pub fn main(&self) -> &T {
        self.shard(WorkerId::MAIN)
    }

    /// Every copy, the main thread's last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }

    /// How many workers have a copy, the main thread not counted.
    pub fn workers(&self) -> usize {
        self.0.len() - 1
    }
}
