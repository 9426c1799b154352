//! What is wrong with the resources, now.
//!
//! In: the problems of each file as they change. Out: one log line when a problem appears and one
//! when it is gone; the list of those that are left. Called by [`crate::mesh`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use meltemi_model::{KeySource, Problem, ProblemKind};
use meltemi_source::FileProblems;
use tracing::{info, warn};

use crate::metrics::MeshMetrics;

/// The problems that there are, by file.
#[derive(Debug)]
pub(crate) struct Problems {
    by_file: BTreeMap<Arc<Path>, Vec<Problem>>,
    /// The mesh configuration was valid and is refused here.
    mesh: Option<Problem>,
    /// Issuers whose keys cannot be had.
    keys: BTreeMap<KeySource, Problem>,
    metrics: MeshMetrics,
}

impl Problems {
    pub fn new(metrics: MeshMetrics) -> Self {
        Self {
            by_file: BTreeMap::new(),
            mesh: None,
            keys: BTreeMap::new(),
            metrics,
        }
    }

    /// The problems of a file have changed.
    pub fn update(&mut self, problems: FileProblems) {
        let FileProblems {
            file,
            current,
            new,
            resolved,
        } = problems;
        for problem in &new {
            self.appeared(problem);
        }
        for problem in &resolved {
            info!("resolved: {problem}");
        }
        if current.is_empty() {
            self.by_file.remove(&file);
        } else {
            self.by_file.insert(file, current);
        }
    }

    /// What is wrong with the mesh configuration in effect.
    pub fn set_mesh(&mut self, problem: Option<Problem>) {
        if self.mesh == problem {
            return;
        }
        if let Some(old) = &self.mesh {
            info!("resolved: {old}");
        }
        if let Some(new) = &problem {
            self.appeared(new);
        }
        self.mesh = problem;
    }

    /// What is wrong with an issuer's keys.
    pub fn set_keys(&mut self, source: &KeySource, problem: Option<Problem>) {
        if self.keys.get(source) == problem.as_ref() {
            return;
        }
        if let Some(old) = self.keys.remove(source) {
            info!("resolved: {old}");
        }
        if let Some(new) = problem {
            self.appeared(&new);
            self.keys.insert(source.clone(), new);
        }
    }

    /// Only these issuers are named any more.
    pub fn keep_keys(&mut self, named: &BTreeSet<&KeySource>) {
        self.keys.retain(|it, _| named.contains(it));
    }

    /// All of them, by file and line.
    pub fn list(&self) -> Arc<[Problem]> {
        self.by_file
            .values()
            .flatten()
            .chain(&self.mesh)
            .chain(self.keys.values())
            .cloned()
            .collect()
    }

    fn appeared(&self, problem: &Problem) {
        warn!("{problem}");
        if problem.kind != ProblemKind::Warning {
            self.metrics.refused(problem);
        }
    }
}
