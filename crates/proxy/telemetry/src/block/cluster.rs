//! `cluster.<name>.*`.

use super::server::version_hash;
use super::{ControlPlaneStats, RedisClusterStats, UpdateOutcome, stat_block};
use crate::{
    Counter, Gauge, Histogram, Lazy, LazyGauge, NamedCounters, Number, ResponseCodes, Text,
};

stat_block! {
    /// `cluster.<name>.*`: what happens between this proxy and a cluster.
    ClusterStats {
        Counter {
            assignment_stale,
            assignment_timeout_received,
            assignment_use_cached,
            bind_errors,
            lb_healthy_panic,
            lb_local_cluster_not_ok,
            lb_recalculate_zone_structures,
            lb_subsets_created,
            lb_subsets_fallback,
            lb_subsets_fallback_panic,
            lb_subsets_removed,
            lb_subsets_selected,
            lb_zone_cluster_too_small,
            lb_zone_no_capacity_left,
            lb_zone_routing_all_directly,
            lb_zone_routing_cross_zone,
            lb_zone_routing_sampled,
            membership_change,
            original_dst_host_invalid,
            retry_or_shadow_abandoned,
            update_attempt,
            update_empty,
            update_failure,
            update_no_rebuild,
            update_success,
            upstream_cx_close_notify,
            upstream_cx_connect_attempts_exceeded,
            upstream_cx_connect_fail,
            upstream_cx_connect_timeout,
            upstream_cx_connect_with_0_rtt,
            upstream_cx_destroy,
            upstream_cx_destroy_local,
            upstream_cx_destroy_local_with_active_rq,
            upstream_cx_destroy_remote,
            upstream_cx_destroy_remote_with_active_rq,
            upstream_cx_destroy_with_active_rq,
            upstream_cx_http1_total,
            upstream_cx_http2_total,
            upstream_cx_http3_total,
            upstream_cx_idle_timeout,
            upstream_cx_max_duration_reached,
            upstream_cx_max_requests,
            upstream_cx_none_healthy,
            upstream_cx_overflow,
            upstream_cx_pool_overflow,
            upstream_cx_preconnect_skipped,
            upstream_cx_protocol_error,
            upstream_cx_rx_bytes_total,
            upstream_cx_total,
            upstream_cx_tx_bytes_total,
            upstream_flow_control_backed_up_total,
            upstream_flow_control_drained_total,
            upstream_flow_control_paused_reading_total,
            upstream_flow_control_resumed_reading_total,
            upstream_http3_broken,
            upstream_internal_redirect_failed_total,
            upstream_internal_redirect_succeeded_total,
            upstream_queue_overloaded,
            upstream_rq_0rtt,
            upstream_rq_active_overflow,
            upstream_rq_cancelled,
            upstream_rq_completed,
            upstream_rq_maintenance_mode,
            upstream_rq_max_duration_reached,
            upstream_rq_pending_failure_eject,
            upstream_rq_pending_overflow,
            upstream_rq_pending_total,
            upstream_rq_per_try_idle_timeout,
            upstream_rq_per_try_timeout,
            upstream_rq_retry,
            upstream_rq_retry_backoff_exponential,
            upstream_rq_retry_backoff_ratelimited,
            upstream_rq_retry_limit_exceeded,
            upstream_rq_retry_overflow,
            upstream_rq_retry_success,
            upstream_rq_rx_reset,
            upstream_rq_rx_reset_no_error,
            upstream_rq_timeout,
            upstream_rq_total,
            upstream_rq_tx_reset,
        }
        Gauge {
            lb_subsets_active,
            max_host_weight,
            membership_degraded,
            membership_excluded,
            membership_healthy,
            membership_total,
            upstream_cx_active,
            upstream_cx_rx_bytes_buffered,
            upstream_cx_tx_bytes_buffered,
            upstream_rq_active,
            upstream_rq_pending_active,
            warming_state,
        }
        Number {
            version,
        }
        Histogram {
            upstream_cx_connect_ms,
            upstream_cx_length_ms,
            upstream_rq_per_cx,
            upstream_rq_time,
        }
        ResponseCodes {
            upstream_rq,
        }
        Lazy<EndpointDiscoveryStats> {
            eds = "",
        }
        Lazy<TrafficStats> {
            external,
            internal,
        }
        Lazy<SslStats> {
            ssl,
        }
        Lazy<UpstreamProxyProtocolStats> {
            proxy_protocol = "upstream.proxyprotocol",
        }
        Lazy<RetryStats> {
            retry,
        }
        Lazy<OutlierStats> {
            outlier_detection,
        }
        Lazy<HealthCheckStats> {
            health_check,
        }
        Lazy<RingHashStats> {
            ring_hash_lb,
        }
        Lazy<MaglevStats> {
            maglev_lb,
        }
        Lazy<RedisClusterStats> {
            redis_cluster,
        }
        CircuitBreakerStats {
            circuit_breakers,
        }
    }
}

stat_block! {
    /// `cluster.<name>.*`: what the subscription to its endpoints counts besides.
    EndpointDiscoveryStats {
        Counter {
            init_fetch_timeout,
            update_rejected,
        }
        Gauge {
            update_time,
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

impl ClusterStats {
    /// Counts an update of the cluster's endpoints.
    pub fn count_update(&self, outcome: UpdateOutcome) {
        self.update_attempt.inc();
        match outcome {
            UpdateOutcome::Accepted => self.update_success.inc(),
            UpdateOutcome::Rejected => self.eds.get().update_rejected.inc(),
            UpdateOutcome::Failed => self.update_failure.inc(),
            UpdateOutcome::Late => self.eds.get().init_fetch_timeout.inc(),
        }
    }

    /// Notes endpoints that are in force, as [`crate::SubscriptionStats::accepted`] does.
    pub fn accepted_endpoints(&self, version: &str, now: u64, took: u64) {
        self.version.set(version_hash(version));
        let eds = self.eds.get();
        eds.update_time.set(now);
        eds.version_text.set(version);
        eds.update_duration.record(took);
    }
}

stat_block! {
    /// `cluster.<name>.retry.*`: responses after which another try was made.
    RetryStats {
        Counter {
            upstream_rq_completed,
        }
        ResponseCodes {
            upstream_rq,
        }
    }
}

impl RetryStats {
    /// Counts a response.
    pub fn count(&self, status: u16) {
        self.upstream_rq_completed.inc();
        self.upstream_rq.count(status);
    }
}

stat_block! {
    /// `cluster.<name>.outlier_detection.*`; the main thread's alone.
    OutlierStats {
        Counter {
            ejections_consecutive_5xx,
            ejections_detected_consecutive_5xx,
            ejections_detected_consecutive_gateway_failure,
            ejections_detected_consecutive_local_origin_failure,
            ejections_detected_failure_percentage,
            ejections_detected_local_origin_failure_percentage,
            ejections_detected_local_origin_success_rate,
            ejections_detected_success_rate,
            ejections_enforced_consecutive_5xx,
            ejections_enforced_consecutive_gateway_failure,
            ejections_enforced_consecutive_local_origin_failure,
            ejections_enforced_failure_percentage,
            ejections_enforced_local_origin_failure_percentage,
            ejections_enforced_local_origin_success_rate,
            ejections_enforced_success_rate,
            ejections_enforced_total,
            ejections_overflow,
            ejections_success_rate,
            ejections_total,
        }
        Gauge {
            ejections_active,
        }
    }
}

stat_block! {
    /// `cluster.<name>.health_check.*`; the main thread's alone.
    HealthCheckStats {
        Counter {
            attempt,
            failure,
            network_failure,
            passive_failure,
            success,
            verify_cluster,
        }
        Gauge {
            degraded,
            healthy,
        }
    }
}

stat_block! {
    /// `cluster.<name>.ring_hash_lb.*`; the main thread's alone.
    RingHashStats {
        Gauge {
            max_hashes_per_host,
            min_hashes_per_host,
            size,
        }
    }
}

stat_block! {
    /// `cluster.<name>.maglev_lb.*`; the main thread's alone.
    MaglevStats {
        Gauge {
            max_entries_per_host,
            min_entries_per_host,
        }
    }
}

stat_block! {
    /// `cluster.<name>.external.*` and `internal.*`: responses by where the request came from.
    TrafficStats {
        Counter {
            upstream_rq_completed,
        }
        Histogram {
            upstream_rq_time,
        }
        ResponseCodes {
            upstream_rq,
        }
    }
}

stat_block! {
    /// `cluster.<name>.circuit_breakers.*`.
    CircuitBreakerStats {
        BreakerStats {
            default,
            high,
        }
    }
}

stat_block! {
    /// `cluster.<name>.circuit_breakers.<priority>.*`: 1 where a limit is reached. Only the
    /// main thread's shard says anything, since limits are a cluster's and not a worker's.
    BreakerStats {
        Gauge {
            cx_open,
            cx_pool_open,
            rq_open,
            rq_pending_open,
            rq_retry_open,
        }
        LazyGauge {
            remaining_cx,
            remaining_cx_pools,
            remaining_pending,
            remaining_retries,
            remaining_rq,
        }
    }
}

stat_block! {
    /// `cluster.<name>.upstream.proxyprotocol.*`.
    UpstreamProxyProtocolStats {
        Counter {
            v2_tlvs_exceed_max_length,
        }
    }
}

stat_block! {
    /// `ssl.*` of a cluster or listener that speaks TLS.
    SslStats {
        Counter {
            connection_error,
            fail_verify_cert_hash,
            fail_verify_error,
            fail_verify_no_cert,
            fail_verify_san,
            handshake,
            no_certificate,
            session_reused,
        }
        NamedCounters {
            ciphers,
            curves,
            sigalgs,
            versions,
        }
    }
}

impl SslStats {
    /// Counts a handshake that is finished.
    pub fn count(&self, agreed: &Agreed<'_>) {
        let Agreed {
            version,
            cipher,
            curve,
            signature,
            resumed,
            certified,
        } = agreed;
        self.handshake.inc();
        if *resumed {
            self.session_reused.inc();
        }
        if !certified {
            self.no_certificate.inc();
        }
        self.versions.inc(version);
        self.ciphers.inc(cipher);
        self.curves.inc(curve);
        self.sigalgs.inc(signature);
    }
}

/// What a handshake agreed on, by the names that are counted; empty where there is nothing.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// The suite.
    pub cipher: &'a str,
    /// The group of the key exchange.
    pub curve: &'a str,
    /// What the peer signed with.
    pub signature: &'a str,
    /// It was resumed from an earlier session.
    pub resumed: bool,
    /// The peer presented a certificate.
    pub certified: bool,
}

impl ClusterStats {
    /// Counts a response that came from the cluster, or that this proxy gives in its place;
    /// `internal` where the request came from inside (`x-envoy-internal`).
    pub fn count_response(&self, status: u16, internal: bool) {
        self.upstream_rq_completed.inc();
        self.upstream_rq.count(status);
        let traffic = self.traffic(internal);
        traffic.upstream_rq_completed.inc();
        traffic.upstream_rq.count(status);
    }

    /// Counts how long a request took, in milliseconds, from its end to the response's end.
    pub fn count_request_time(&self, milliseconds: u64, internal: bool) {
        self.upstream_rq_time.record(milliseconds);
        self.traffic(internal).upstream_rq_time.record(milliseconds);
    }

    fn traffic(&self, internal: bool) -> &TrafficStats {
        if internal {
            self.internal.get()
        } else {
            self.external.get()
        }
    }
}
