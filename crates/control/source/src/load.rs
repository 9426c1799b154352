//! Everything at once, for the command line.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use meltemi_model::{Config, Defaults, Problem, ResourceId};

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
    let (mut configs, problems, stand_ins) = read(roots, defaults)?;
    configs.retain(|it| !stand_ins.contains(&it.id()));
    Ok((configs, problems))
}

/// Reads the files below `roots` once: what would hold, which is more than what is valid (see
/// [`meltemi_model::fallback`]), and every problem.
///
/// # Errors
/// A root that cannot be read.
pub fn load_in_effect(
    roots: &[PathBuf],
    defaults: Defaults,
) -> Result<(Vec<Arc<Config>>, Vec<Problem>), SourceError> {
    let (configs, problems, _) = read(roots, defaults)?;
    Ok((configs, problems))
}

type Read = (Vec<Arc<Config>>, Vec<Problem>, BTreeSet<ResourceId>);

fn read(roots: &[PathBuf], defaults: Defaults) -> Result<Read, SourceError> {
    let mut state = FileState::new(defaults);
    for (path, read) in scan(roots)? {
        state.set(&path, read);
    }
    let configs = state.changes().into_iter().filter_map(|event| match event {
        Event::Apply(config) => Some(config),
        Event::Init | Event::Delete(_) | Event::Problems(_) | Event::Ready => None,
    });
    let configs = configs.collect();
    Ok((configs, state.problems(), state.stand_ins()))
}
