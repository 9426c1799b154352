//! What is wrong with the resources, now.
//!
//! In: the problems of each file as they change. Out: one log line when a problem appears and one
//! when it is gone; the list of those that are left. Called by [`crate::mesh`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use meltemi_model::Problem;
use meltemi_source::FileProblems;
use tracing::{info, warn};

use crate::metrics::MeshMetrics;

/// The problems that there are, by file.
#[derive(Debug)]
pub(crate) struct Problems {
    by_file: BTreeMap<Arc<Path>, Vec<Problem>>,
    /// The mesh configuration was valid and is refused here.
    mesh: Option<Problem>,
    metrics: MeshMetrics,
}

impl Problems {
    pub fn new(metrics: MeshMetrics) -> Self {
        Self {
            by_file: BTreeMap::new(),
            mesh: None,
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

    /// All of them, by file and line.
    pub fn list(&self) -> Arc<[Problem]> {
        self.by_file
            .values()
            .flatten()
            .chain(&self.mesh)
            .cloned()
            .collect()
    }

    fn appeared(&self, problem: &Problem) {
        warn!("{problem}");
        self.metrics.refused(problem);
    }
}
