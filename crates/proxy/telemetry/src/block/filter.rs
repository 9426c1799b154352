//! Statistics of single HTTP filters.

use super::stat_block;
use crate::{Counter, Gauge, Histogram, HistogramSnapshot, StatBlock, StatRef};

stat_block! {
    /// `http.<stat_prefix>.fault.*`.
    FaultStats {
        Counter { aborts_injected, delays_injected, faults_overflow, response_rl_injected }
        Gauge { active_faults }
    }
}

stat_block! {
    /// `dns_cache.<name>.*`.
    DnsCacheStats {
        Counter {
            dns_query_attempt,
            dns_query_failure,
            dns_query_success,
            dns_query_timeout,
            dns_rq_pending_overflow,
            host_added,
            host_address_changed,
            host_overflow,
            host_removed,
        }
        Gauge { num_hosts }
    }
}

stat_block! {
    /// `http.<stat_prefix>.cors.*`.
    CorsStats {
        Counter { origin_invalid, origin_valid }
    }
}

stat_block! {
    /// `<stat_prefix>.http_local_rate_limit.*`.
    LocalRateLimitStats {
        Counter { enabled, enforced, ok, rate_limited }
    }
}

stat_block! {
    /// `http.<stat_prefix>.jwt_authn.*`.
    JwtAuthnStats {
        Counter {
            allowed,
            cors_preflight_bypassed,
            denied,
            jwks_fetch_failed,
            jwks_fetch_success,
            jwt_cache_hit,
            jwt_cache_miss,
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.ext_authz.*`.
    ExtAuthzStats {
        Counter {
            denied,
            disabled,
            error,
            failure_mode_allowed,
            ignored_dynamic_metadata,
            ok,
        }
    }
}

stat_block! {
    /// `cluster.<name>.ext_authz.*`.
    ClusterExtAuthzStats {
        Counter { denied, error, failure_mode_allowed, ok }
    }
}

stat_block! {
    /// `http.<stat_prefix>.compressor.<library>.*`.
    CompressorStats {
        Counter {
            compressed,
            content_length_too_small,
            header_compressor_used,
            header_compressor_overshadowed,
            header_identity,
            header_not_valid,
            header_wildcard,
            no_accept_header,
            not_compressed,
            not_compressed_etag,
            total_compressed_bytes,
            total_uncompressed_bytes,
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.decompressor.<library>.*`.
    DecompressorStats {
        Counter {
            decompressed,
            not_decompressed,
            total_compressed_bytes,
            total_uncompressed_bytes,
        }
    }
}

stat_block! {
    /// `http.<stat_prefix>.rbac.*` and `<stat_prefix>.rbac.*`: what is enforced.
    RbacStats {
        Counter { allowed, denied }
    }
}

stat_block! {
    /// `http.<stat_prefix>.rbac.*` and `<stat_prefix>.rbac.*`: what is tried out.
    RbacShadowStats {
        Counter { shadow_allowed, shadow_denied }
    }
}

/// `http.<stat_prefix>.rbac.policy.<policy>.*`; each appears when it first happens.
#[derive(Debug, Default)]
pub struct RbacPolicyStats {
    /// `allowed`
    pub allowed: Counter,
    /// `denied`
    pub denied: Counter,
    /// `shadow_allowed`
    pub shadow_allowed: Counter,
    /// `shadow_denied`
    pub shadow_denied: Counter,
}

impl StatBlock for RbacPolicyStats {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, StatRef<'a>)) {
        for (name, counter) in [
            ("allowed", &self.allowed),
            ("denied", &self.denied),
            ("shadow_allowed", &self.shadow_allowed),
            ("shadow_denied", &self.shadow_denied),
        ] {
            if counter.get() > 0 {
                visit(name, StatRef::Counter(counter));
            }
        }
    }
}

/// `cluster.<name>.grpc.*`, perhaps of one method.
#[derive(Debug, Default)]
pub struct GrpcMethodStats {
    /// `failure`
    pub failure: Counter,
    /// `request_message_count`
    pub request_message_count: Counter,
    /// `response_message_count`
    pub response_message_count: Counter,
    /// `success`
    pub success: Counter,
    /// `total`
    pub total: Counter,
    /// `upstream_rq_time`
    pub upstream_rq_time: Histogram,
    /// Calls by gRPC status; a status appears when it first happens.
    pub status: GrpcCodes,
}

/// Calls by gRPC status.
#[derive(Debug, Default)]
pub struct GrpcCodes([Counter; 17]);

impl GrpcCodes {
    /// Counts a call; an unknown status is none.
    pub fn count(&self, status: u16) {
        if let Some(counter) = self.0.get(usize::from(status)) {
            counter.inc();
        }
    }
}

impl StatBlock for GrpcMethodStats {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'static str, StatRef<'a>)) {
        const CODES: [&str; 17] = [
            "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15",
            "16",
        ];
        for (name, counter) in CODES.iter().zip(&self.status.0) {
            if counter.get() > 0 {
                visit(name, StatRef::Counter(counter));
            }
        }
        visit("failure", StatRef::Counter(&self.failure));
        visit(
            "request_message_count",
            StatRef::Counter(&self.request_message_count),
        );
        visit(
            "response_message_count",
            StatRef::Counter(&self.response_message_count),
        );
        visit("success", StatRef::Counter(&self.success));
        visit("total", StatRef::Counter(&self.total));
        let mut times = HistogramSnapshot::default();
        self.upstream_rq_time.add_to(&mut times);
        if times.count > 0 {
            visit(
                "upstream_rq_time",
                StatRef::Histogram(&self.upstream_rq_time),
            );
        }
    }
}
