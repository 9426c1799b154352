//! What is said of a host's health, and what follows from it.

use std::fmt;
use std::ops::BitOr;

use meltemi_ir::HealthStatus;

/// Whether a host gets traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostHealth {
    /// It does.
    Healthy,
    /// Only where no healthy one is.
    Degraded,
    /// Only in panic.
    Unhealthy,
}

/// What is said of a host's health, as a set; its text is `health_flags` of `/clusters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(pub(crate) u32);

impl HealthFlags {
    /// Nothing is said.
    pub const NONE: Self = Self(0);
    /// Health checks failed.
    pub const FAILED_ACTIVE_HC: Self = Self(0x1);
    /// Outlier detection ejected it.
    pub const FAILED_OUTLIER_CHECK: Self = Self(0x2);
    /// The control plane says that it is unhealthy.
    pub const FAILED_EDS_HEALTH: Self = Self(0x4);
    /// It says of itself that it is degraded.
    pub const DEGRADED_ACTIVE_HC: Self = Self(0x8);
    /// The control plane says that it is degraded.
    pub const DEGRADED_EDS_HEALTH: Self = Self(0x10);
    /// Discovery has removed it; it stays until its health checks fail.
    pub const PENDING_DYNAMIC_REMOVAL: Self = Self(0x20);
    /// It was not checked yet.
    pub const PENDING_ACTIVE_HC: Self = Self(0x40);
    /// It asked not to be counted (`x-envoy-immediate-health-check-fail`).
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Self = Self(0x80);
    /// A health check was not answered in time.
    pub const ACTIVE_HC_TIMEOUT: Self = Self(0x100);
    /// The control plane says that it is going away.
    pub const EDS_STATUS_DRAINING: Self = Self(0x200);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (Self::FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (Self::FAILED_EDS_HEALTH, "/failed_eds_health"),
        (Self::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (Self::DEGRADED_EDS_HEALTH, "/degraded_eds_health"),
        (Self::PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (Self::PENDING_ACTIVE_HC, "/pending_active_hc"),
        (
            Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL,
            "/excluded_via_immediate_hc_fail",
        ),
        (Self::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (Self::EDS_STATUS_DRAINING, "/eds_status_draining"),
    ];

    /// Whether any of `other` is in this set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a host of which this is said gets traffic.
    pub fn health(self) -> HostHealth {
        let unhealthy = Self::FAILED_ACTIVE_HC
            | Self::FAILED_OUTLIER_CHECK
            | Self::FAILED_EDS_HEALTH
            | Self::EDS_STATUS_DRAINING;
        if self.intersects(unhealthy) {
            HostHealth::Unhealthy
        } else if self.intersects(Self::DEGRADED_ACTIVE_HC | Self::DEGRADED_EDS_HEALTH) {
            HostHealth::Degraded
        } else {
            HostHealth::Healthy
        }
    }
}

impl BitOr for HealthFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<HealthStatus> for HealthFlags {
    fn from(status: HealthStatus) -> Self {
        match status {
            HealthStatus::Healthy => Self::NONE,
            HealthStatus::Degraded => Self::DEGRADED_EDS_HEALTH,
            HealthStatus::Unhealthy => Self::FAILED_EDS_HEALTH,
            HealthStatus::Draining => Self::EDS_STATUS_DRAINING,
        }
    }
}

impl fmt::Display for HealthFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("healthy");
        }
        for (flag, name) in Self::NAMES {
            if self.intersects(flag) {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}
