//! One copy of a statistics block for each worker, so that no two write to a cache line.

use std::sync::OnceLock;

use meltemi_lifecycle::WorkerId;

/// A `T` for each worker, each on cache lines of its own, and one for the main thread, which seldom
/// writes. A worker's is made at its first use: most clusters of a large mesh are never called from
/// here.
#[derive(Debug)]
pub struct Sharded<T> {
    workers: Box<[OnceLock<Box<Padded<T>>>]>,
    main: T,
}

// Two lines: the prefetcher of current x86 processors fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Sharded<T> {
    /// For `workers` workers and the main thread.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| OnceLock::new()).collect(),
            main: T::default(),
        }
    }

    /// The worker's own copy; the main thread's for [`WorkerId::MAIN`] and any unknown worker.
    #[inline]
    pub fn shard(&self, worker: WorkerId) -> &T {
        match self.workers.get(worker.0) {
            Some(own) => &own.get_or_init(Box::default).0,
            None => &self.main,
        }
    }
}

impl<T> Sharded<T> {
    /// The main thread's copy.
    pub fn main(&self) -> &T {
        &self.main
    }

    /// Every copy that there is, the main thread's last.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let workers = self.workers.iter().filter_map(OnceLock::get);
        workers.map(|own| &own.0).chain(std::iter::once(&self.main))
    }

    /// How many workers may have a copy, the main thread not counted.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }
}
