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
        DiscoveryStats {
            cds,
        }
    }
}

stat_block! {
    /// One discovery subscription, such as `cluster_manager.cds.*` or
    /// `http.<stat_prefix>.rds.<name>.*`.
    DiscoveryStats {
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
