//! `istio.stats`: counts finished requests in Istio's standard metrics.

use meltemi_ir as ir;
use meltemi_telemetry::StreamRecord;

use super::HttpFilter;
use crate::worker::WorkerContext;

/// The filter with its settings.
#[derive(Debug)]
pub(crate) struct IstioStatsFilter(ir::IstioStats);

impl IstioStatsFilter {
    pub(crate) fn new(config: ir::IstioStats) -> Self {
        Self(config)
    }
}

impl HttpFilter for IstioStatsFilter {
    fn on_complete(&self, record: &StreamRecord<'_>, worker: &WorkerContext) {
        worker.recorder.request(&self.0, record);
    }
}
