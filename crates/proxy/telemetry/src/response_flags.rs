//! Envoy's response flags: why a request ended as it did.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of response flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

macro_rules! response_flags {
    ($($(#[$meta:meta])* $bit:literal $constant:ident $short:literal $long:literal;)*) => {
        impl ResponseFlags {
            $($(#[$meta])* pub const $constant: Self = Self(1 << $bit);)*

            /// Every flag in Envoy's order, with its short and its long name.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$constant, $short, $long)),*];
        }
    };
}

response_flags! {
    /// `LH`: the local service failed its health check.
    0 FAILED_LOCAL_HEALTH_CHECK "LH" "FailedLocalHealthCheck";
    /// `UH`: the cluster has no healthy host.
    1 NO_HEALTHY_UPSTREAM "UH" "NoHealthyUpstream";
    /// `UT`: the upstream did not answer in time.
    2 UPSTREAM_REQUEST_TIMEOUT "UT" "UpstreamRequestTimeout";
    /// `LR`: reset from this side.
    3 LOCAL_RESET "LR" "LocalReset";
    /// `UR`: reset by the upstream.
    4 UPSTREAM_REMOTE_RESET "UR" "UpstreamRemoteReset";
    /// `UF`: no connection to the upstream could be made.
    5 UPSTREAM_CONNECTION_FAILURE "UF" "UpstreamConnectionFailure";
    /// `UC`: the upstream closed the connection.
    6 UPSTREAM_CONNECTION_TERMINATION "UC" "UpstreamConnectionTermination";
    /// `UO`: a circuit breaker was open.
    7 UPSTREAM_OVERFLOW "UO" "UpstreamOverflow";
    /// `NR`: no route, or no filter chain, matched.
    8 NO_ROUTE_FOUND "NR" "NoRouteFound";
    /// `DI`: delayed on purpose.
    9 DELAY_INJECTED "DI" "DelayInjected";
    /// `FI`: aborted on purpose.
    10 FAULT_INJECTED "FI" "FaultInjected";
    /// `RL`: limited by rate.
    11 RATE_LIMITED "RL" "RateLimited";
    /// `UAEX`: the external authorization service said no.
    12 UNAUTHORIZED_EXTERNAL_SERVICE "UAEX" "UnauthorizedExternalService";
    /// `RLSE`: the rate limit service failed.
    13 RATE_LIMIT_SERVICE_ERROR "RLSE" "RateLimitServiceError";
    /// `DC`: the downstream closed the connection.
    14 DOWNSTREAM_CONNECTION_TERMINATION "DC" "DownstreamConnectionTermination";
    /// `URX`: retries, or TCP connection attempts, are used up.
    15 UPSTREAM_RETRY_LIMIT_EXCEEDED "URX" "UpstreamRetryLimitExceeded";
    /// `SI`: nothing happened on the stream for too long.
    16 STREAM_IDLE_TIMEOUT "SI" "StreamIdleTimeout";
    /// `IH`: a header that is Envoy's had a bad value.
    17 INVALID_ENVOY_REQUEST_HEADERS "IH" "InvalidEnvoyRequestHeaders";
    /// `DPE`: the downstream spoke no proper HTTP.
    18 DOWNSTREAM_PROTOCOL_ERROR "DPE" "DownstreamProtocolError";
    /// `UMSDR`: the stream's longest life was over.
    19 UPSTREAM_MAX_STREAM_DURATION_REACHED "UMSDR" "UpstreamMaxStreamDurationReached";
    /// `RFCF`: answered from a cache.
    20 RESPONSE_FROM_CACHE_FILTER "RFCF" "ResponseFromCacheFilter";
    /// `NFCF`: a filter's configuration did not arrive in time.
    21 NO_FILTER_CONFIG_FOUND "NFCF" "NoFilterConfigFound";
    /// `DT`: the request or connection took longer than allowed.
    22 DURATION_TIMEOUT "DT" "DurationTimeout";
    /// `UPE`: the upstream spoke no proper HTTP.
    23 UPSTREAM_PROTOCOL_ERROR "UPE" "UpstreamProtocolError";
    /// `NC`: the cluster does not exist.
    24 NO_CLUSTER_FOUND "NC" "NoClusterFound";
    /// `OM`: the overload manager ended it.
    25 OVERLOAD_MANAGER "OM" "OverloadManagerTerminated";
    /// `DF`: a name could not be resolved.
    26 DNS_RESOLUTION_FAILED "DF" "DnsResolutionFailed";
    /// `DO`: dropped by the control plane's order.
    27 DROP_OVERLOAD "DO" "DropOverload";
    /// `DR`: reset by the client.
    28 DOWNSTREAM_REMOTE_RESET "DR" "DownstreamRemoteReset";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// No flag, but how they are written.
    const RETRIES_LAST: u32 = 1 << (u32::BITS - 1);

    /// Sets the flags of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The flag of this short name.
    pub fn from_short(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, short, _)| *short == name)
            .map(|(flag, _, _)| *flag)
    }

    /// The short names joined by commas, or `-`; the same as `Display`.
    pub fn short(self) -> String {
        self.to_string()
    }

    /// The long names joined by commas, or `-`.
    pub fn long(self) -> String {
        let names: Vec<_> = self.set().map(|(_, long)| long).collect();
        if names.is_empty() {
            "-".to_owned()
        } else {
            names.join(",")
        }
    }

    /// The same flags, with that retries are used up after why the last one failed, as for TCP.
    pub fn with_retries_last(self) -> Self {
        Self(self.0 | Self::RETRIES_LAST)
    }

    /// In the order in which Envoy sets them: that retries are used up before why the last one
    /// failed unless told otherwise, the others as listed.
    fn set(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let retries_last = self.0 & Self::RETRIES_LAST != 0;
        let is_first =
            move |flag: &Self| *flag == Self::UPSTREAM_RETRY_LIMIT_EXCEEDED && !retries_last;
        let first = Self::ALL.iter().filter(move |(flag, _, _)| is_first(flag));
        let others = Self::ALL.iter().filter(move |(flag, _, _)| !is_first(flag));
        first
            .chain(others)
            .filter(move |(flag, _, _)| self.contains(*flag))
            .map(|(_, short, long)| (*short, *long))
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (at, (short, _)) in self.set().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(short)?;
        }
        Ok(())
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

#[cfg(test)]
mod tests;
