//! `listener.<address>.*` and `listener_manager.*`.

use super::stat_block;
use crate::{Counter, Gauge, Histogram, Lazy, ListenerDiscoveryStats, SslStats};

stat_block! {
    /// `listener.<address>.*`: what a listener accepts.
    ListenerStats {
        Counter {
            downstream_cx_destroy,
            downstream_cx_overflow,
            downstream_cx_overload_reject,
            downstream_cx_total,
            downstream_cx_transport_socket_connect_timeout,
            downstream_global_cx_overflow,
            downstream_listener_filter_error,
            downstream_listener_filter_remote_close,
            downstream_pre_cx_timeout,
            extension_config_missing,
            network_extension_config_missing,
            no_filter_chain_match,
        }
        Gauge {
            downstream_cx_active,
            downstream_pre_cx_active,
        }
        Histogram {
            connections_accepted_per_socket_event,
            downstream_cx_length_ms,
        }
        Lazy<SslStats> {
            ssl,
        }
    }
}

stat_block! {
    /// `listener_manager.*`; written by the main thread.
    ListenerManagerStats {
        Counter {
            listener_added,
            listener_create_failure,
            listener_create_success,
            listener_in_place_updated,
            listener_modified,
            listener_removed,
            listener_stopped,
        }
        Gauge {
            total_filter_chains_draining,
            total_listeners_active,
            total_listeners_draining,
            total_listeners_warming,
            workers_pinned,
            workers_started,
        }
        ListenerDiscoveryStats {
            lds,
        }
    }
}
