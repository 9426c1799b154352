//! `server.*`, `cluster_manager.*` and `control_plane.*`; written by the main thread.

use twox_hash::XxHash64;

use super::stat_block;
use crate::{Counter, Gauge, Histogram, Lazy, Number, Text};

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
        SubscriptionStats {
            subscription = "",
        }
    }
}

stat_block! {
    /// `cluster_manager.cds.*`: the subscription to clusters.
    ClusterDiscoveryStats {
        Counter {
            config_reload,
        }
        Gauge {
            config_reload_time_ms,
        }
        SubscriptionStats {
            subscription = "",
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.rds.<name>.*`: the subscription to a route table.
    RouteDiscoveryStats {
        Counter {
            config_reload,
            update_empty,
        }
        Gauge {
            config_reload_time_ms,
        }
        SubscriptionStats {
            subscription = "",
        }
    }
}

stat_block! {
    /// What every subscription counts.
    SubscriptionStats {
        Counter {
            init_fetch_timeout,
            update_attempt,
            update_failure,
            update_rejected,
            update_success,
        }
        Gauge {
            update_time,
        }
        Number {
            version,
        }
        Histogram {
            update_duration,
        }
        Text {
            version_text,
        }
        Lazy<ControlPlaneStats> {
            control_plane,
        }
    }
}

/// What became of a subscription's update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// It is in force.
    Accepted,
    /// Something of it is refused.
    Rejected,
    /// It could not be read, or the stream broke on which it would have come.
    Failed,
    /// The first one did not come in time.
    Late,
}

impl SubscriptionStats {
    /// Counts an update.
    pub fn count(&self, outcome: UpdateOutcome) {
        self.update_attempt.inc();
        match outcome {
            UpdateOutcome::Accepted => self.update_success.inc(),
            UpdateOutcome::Rejected => self.update_rejected.inc(),
            UpdateOutcome::Failed => self.update_failure.inc(),
            UpdateOutcome::Late => self.init_fetch_timeout.inc(),
        }
    }

    /// Notes an update that is in force: its version, when that was (milliseconds since 1970), and how
    /// many milliseconds it took to apply.
    pub fn accepted(&self, version: &str, now: u64, took: u64) {
        self.update_time.set(now);
        self.version.set(version_hash(version));
        self.version_text.set(version);
        self.update_duration.record(took);
    }
}

/// What stands for a version where there can only be a number.
pub(super) fn version_hash(version: &str) -> u64 {
    XxHash64::oneshot(0, version.as_bytes())
}

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
