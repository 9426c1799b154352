//! `tcp.<stat_prefix>.*`: the TCP proxy.

use super::stat_block;
use crate::{Counter, Gauge};

stat_block! {
    /// `tcp.<stat_prefix>.*`: what a TCP proxy does.
    TcpStats {
        Counter {
            downstream_cx_drain_close,
            downstream_cx_no_route,
            downstream_cx_rx_bytes_total,
            downstream_cx_total,
            downstream_cx_tx_bytes_total,
            downstream_flow_control_paused_reading_total,
            downstream_flow_control_resumed_reading_total,
            early_data_received_count_total,
            idle_timeout,
            max_downstream_connection_duration,
            upstream_flush_total,
        }
        Gauge {
            downstream_cx_rx_bytes_buffered,
            downstream_cx_tx_bytes_buffered,
            upstream_flush_active,
        }
    }
}
