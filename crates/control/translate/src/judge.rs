//! What only those who know Envoy's messages can judge.

use meltemi_model::Judge;

use crate::envoy_filter;

/// Judges resources that hold Envoy's messages, which are EnvoyFilters.
pub const fn judge() -> Judge {
    Judge::new(envoy_filter::judge)
}
