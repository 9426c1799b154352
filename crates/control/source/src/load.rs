//! Everything at once, for the command line.

use std::path::PathBuf;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, Problem};

use crate::scan::scan;
use crate::{Event, FileState, SourceError};

/// Reads the files below `roots` once: the valid resources, and every problem.
///
/// # Errors
/// A root that cannot be read.
pub fn load(
    roots: &[PathBuf],
    defaults: Defaults,
) -> Result<(Vec<Arc<Config>>, Vec<Problem>), SourceError> {
    let mut state = FileState::new(defaults);
    for (path, read) in scan(roots)? {
        state.set(&path, read);
    }
    let configs = state.changes().into_iter().filter_map(|event| match event {
        Event::Apply(config) => Some(config),
        Event::Init | Event::Delete(_) | Event::Problems(_) | Event::Ready => None,
    });
    let configs = configs.collect();
    Ok((configs, state.problems()))
}
