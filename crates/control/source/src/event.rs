//! What a source says.

use std::path::Path;
use std::sync::Arc;

use meltemi_model::{Config, Problem, ResourceId};

/// One step in the life of a source, in the order: `Init`, first state, `Ready`, changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The source begins: what it said before is void until `Ready`.
    Init,
    /// A resource is new or has changed.
    Apply(Arc<Config>),
    /// A resource is gone.
    Delete(ResourceId),
    /// The problems of a file have changed.
    Problems(FileProblems),
    /// Everything that was there at the beginning has been said.
    Ready,
}

/// The problems of one file, and what is different from before, so that each problem and its end can
/// be logged once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblems {
    /// The file.
    pub file: Arc<Path>,
    /// All problems that it has now.
    pub current: Vec<Problem>,
    /// Those that it had not before.
    pub new: Vec<Problem>,
    /// Those that it had before and has no longer.
    pub resolved: Vec<Problem>,
}
