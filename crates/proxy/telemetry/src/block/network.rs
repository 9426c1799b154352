//! What listener filters and network filters count.

use super::stat_block;
use crate::{Counter, Gauge};

stat_block! {
    /// `connection_limit.<stat_prefix>.*`.
    ConnectionLimitStats {
        Counter { limited_connections }
        Gauge { active_connections }
    }
}

stat_block! {
    /// `ext_authz.<stat_prefix>.*`: the network filter.
    NetworkExtAuthzStats {
        Counter { cx_closed, denied, disabled, error, failure_mode_allowed, ok, total }
        Gauge { active }
    }
}

stat_block! {
    /// `local_rate_limit.<stat_prefix>.*`: the network filter.
    NetworkRateLimitStats {
        Counter { rate_limited }
    }
}

stat_block! {
    /// `proxy_proto.*`.
    ProxyProtocolStats {
        Counter { not_found_allowed, not_found_disallowed }
        ProxyVersionStats {
            v1 = "versions.v1",
            v2 = "versions.v2",
        }
    }
}

stat_block! {
    /// `proxy_proto.versions.<version>.*`.
    ProxyVersionStats {
        Counter { disallowed, error, found }
    }
}

stat_block! {
    /// `tls_inspector.*`.
    TlsInspectorStats {
        Counter {
            alpn_found,
            alpn_not_found,
            client_hello_too_large,
            sni_found,
            sni_not_found,
            tls_found,
            tls_not_found,
        }
    }
}

stat_block! {
    /// `http_inspector.*`.
    HttpInspectorStats {
        Counter {
            http10_found,
            http11_found,
            http2_found,
            http_not_found,
            read_error,
        }
    }
}
