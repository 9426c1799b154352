//! Faults and copies of requests (FEATURES T7, T8).
//!
//! In: `fault`, `mirrors`. Out: [`Fault`] and [`Mirror`].

use std::time::Duration;

use crate::Destination;

/// `fault`; at least one part is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `delay`.
    pub delay: Option<FaultDelay>,
    /// `abort`.
    pub abort: Option<FaultAbort>,
}

/// `fault.delay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultDelay {
    /// Of how many requests.
    pub percentage: Percentage,
    /// `fixedDelay`.
    pub duration: Duration,
}

/// `fault.abort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultAbort {
    /// Of how many requests.
    pub percentage: Percentage,
    /// How they are answered.
    pub status: FaultStatus,
}

/// How a request that is aborted is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultStatus {
    /// `httpStatus`, 200 to 599.
    Http(u16),
    /// `grpcStatus`, 0 to 16.
    Grpc(u8),
}

/// A copy of requests to another destination; its responses are thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// Of how many requests.
    pub percentage: Percentage,
}

/// A share in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(pub u32);

impl Percentage {
    /// Every request.
    pub const ALL: Self = Self(1_000_000);
}
