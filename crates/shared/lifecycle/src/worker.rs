//! Which worker thread something runs on.

/// The index of a worker thread; statistics keep one shard for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub usize);

impl WorkerId {
    /// The main thread, which has no connections of its own but counts things too.
    pub const MAIN: Self = Self(usize::MAX);
}
