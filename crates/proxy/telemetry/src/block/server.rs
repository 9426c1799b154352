//! `server.*`, `cluster_manager.*` and `control_plane.*`; written by the main thread.

use super::stat_block;
use crate::{Counter, Gauge, Histogram, Text};

stat_block! {
    /// `server.*`.
    ServerStats {
        Counter {
            debug_assertion_failures,
            dropped_stat_flushes,
            dynamic_unknown_fields,
            envoy_bug_failures,
            envoy_notifications,
            static_unknown_fields,
            wip_protos,
        }
        Gauge {
            compilation_settings_fips_mode = "compilation_settings.fips_mode",
            concurrency,
            days_until_first_cert_expiring,
            hot_restart_epoch,
            hot_restart_generation,
            live,
            memory_allocated,
            memory_heap_size,
            memory_physical_size,
            parent_connections,
            seconds_until_first_ocsp_response_expiring,
            state,
            stats_recent_lookups,
            total_connections,
            uptime,
            version,
        }
        Histogram {
            initialization_time_ms,
        }
    }
}

stat_block! {
    /// `cluster_manager.*`.
    ClusterManagerStats {
        Counter {
            cluster_added,
            cluster_modified,
            cluster_removed,
            cluster_updated,
            cluster_updated_via_merge,
            update_merge_cancelled,
            update_out_of_merge_window,
        }
        Gauge {
            active_clusters,
            warming_clusters,
        }
        ClusterDiscoveryStats {
            cds,
        }
    }
}

stat_block! {
    /// `listener_manager.lds.*`: the subscription to listeners.
    ListenerDiscoveryStats {
        Counter {
            init_fetch_timeout,
            update_attempt,
            update_failure,
            update_rejected,
            update_success,
        }
        Gauge {
            update_time,
            version,
        }
        Histogram {
            update_duration,
        }
        Text {
            version_text,
        }
    }
}

stat_block! {
    /// `cluster_manager.cds.*`: the subscription to clusters.
    ClusterDiscoveryStats {
        Counter {
            config_reload,
            init_fetch_timeout,
            update_attempt,
            update_failure,
            update_rejected,
            update_success,
        }
        Gauge {
            config_reload_time_ms,
            update_time,
            version,
        }
        Histogram {
            update_duration,
        }
        Text {
            version_text,
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.rds.<name>.*`: the subscription to a route table.
    RouteDiscoveryStats {
        Counter {
            config_reload,
            init_fetch_timeout,
            update_attempt,
            update_empty,
            update_failure,
            update_rejected,
            update_success,
        }
        Gauge {
            config_reload_time_ms,
            update_time,
            version,
        }
        Histogram {
            update_duration,
        }
        Text {
            version_text,
        }
    }
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It is in force.
    Accepted,
    /// Something of it is refused.
    Rejected,
    /// It could not be read.
    Failed,
}

/// The statistics that every subscription has.
pub trait SubscriptionStats {
    /// Counts an update of this version.
    fn count(&self, outcome: UpdateOutcome, version: &str);
}

macro_rules! subscriptions {
    ($($block:ident),*) => {
        $(impl SubscriptionStats for $block {
            fn count(&self, outcome: UpdateOutcome, version: &str) {
                self.update_attempt.inc();
                match outcome {
                    UpdateOutcome::Accepted => {
                        self.update_success.inc();
                        self.version_text.set(version);
                    }
                    UpdateOutcome::Rejected => self.update_rejected.inc(),
                    UpdateOutcome::Failed => self.update_failure.inc(),
                }
            }
        })*
    };
}

subscriptions!(
    ClusterDiscoveryStats,
    ListenerDiscoveryStats,
    RouteDiscoveryStats
);

stat_block! {
    /// `control_plane.*`: the management server's stream.
    ControlPlaneStats {
        Counter {
            rate_limit_enforced,
        }
        Gauge {
            connected_state,
            pending_requests,
        }
        Text {
            identifier,
        }
    }
}
