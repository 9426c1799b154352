//! Endpoints that discovery delivers: who asks for them, and what comes.

use std::sync::{Arc, Weak};

use meltemi_ir::{LoadAssignment, ResourceSource};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::ClusterStats;

use super::{ClusterManager, State, service_of};
use crate::Cluster;

impl ClusterManager {
    /// The endpoints of every cluster with this EDS service name over ADS, now or later.
    pub fn apply_endpoints(&self, assignment: LoadAssignment) {
        self.apply_endpoints_of(&ResourceSource::Ads, assignment);
    }

    /// The endpoints of every cluster with this EDS service name at this source, now or later.
    pub fn apply_endpoints_of(&self, source: &ResourceSource, assignment: LoadAssignment) {
        let mut state = self.lock();
        let service = (source.clone(), assignment.cluster_name.clone());
        let assignment = Arc::new(assignment);
        state
            .assignments
            .insert(service.clone(), assignment.clone());
        self.deliver(&mut state, &service, &assignment);
        self.show_counts(&state);
    }

    /// The source gave no endpoints that can be used: what has endpoints keeps them, and nothing waits
    /// any more.
    pub fn no_endpoints(&self, source: &ResourceSource, service_name: &str) {
        let mut state = self.lock();
        for cluster in &state.asking(source, service_name) {
            if !cluster.awaits_more() {
                self.end_warming(&mut state, cluster);
            }
        }
    }

    /// Calls `count` with the statistics of each cluster that asks the source for these endpoints.
    pub fn count(&self, source: &ResourceSource, name: &str, count: impl Fn(&ClusterStats)) {
        for cluster in self.lock().asking(source, name) {
            count(cluster.stats(WorkerId::MAIN));
        }
    }

    /// The sources and EDS service names that clusters, warming or in service, ask for; sorted.
    pub fn wanted_services(&self) -> Vec<(ResourceSource, String)> {
        let mut wanted: Vec<_> = self
            .clusters()
            .iter()
            .chain(&self.warming())
            .filter_map(service_of)
            .collect();
        wanted.sort();
        wanted.dedup();
        wanted
    }

    /// The last delivered endpoints by EDS service name, for `/config_dump?include_eds`.
    pub fn endpoints(&self) -> Vec<Arc<LoadAssignment>> {
        let state = self.lock();
        let mut assignments: Vec<_> = state.assignments.values().cloned().collect();
        assignments.sort_by(|left, right| left.cluster_name.cmp(&right.cluster_name));
        assignments
    }
}

impl State {
    /// The clusters that ask the source for these endpoints.
    fn asking(&self, source: &ResourceSource, service_name: &str) -> Vec<Arc<Cluster>> {
        let service = (source.clone(), service_name.to_owned());
        let asking = self.services.get(&service).into_iter().flatten();
        let asking = asking.filter_map(Weak::upgrade);
        asking.filter(|it| !it.is_retired()).collect()
    }
}
