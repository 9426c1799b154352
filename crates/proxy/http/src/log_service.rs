//! Delivers the entries of access logs to the services that take them, over the worker's pools.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use meltemi_ir as ir;
use meltemi_telemetry::{LogBatch, LogSource};

use crate::call::{CallFailure, grpc_body};
use crate::worker::WorkerContext;

/// A batch that takes longer is lost, unless the service has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left at the end has so long, all together.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Begins to deliver what is due, now that so much time has passed since the last call. Call inside the
/// worker's runtime.
pub fn deliver_logs(worker: &Rc<WorkerContext>, passed: Duration) {
    for batch in worker.logs.take_due(passed) {
        tokio::task::spawn_local(deliver(Rc::clone(worker), batch));
    }
}

/// Delivers everything that is left; for the worker's end, which no service holds up for long.
pub async fn deliver_last_logs(worker: &Rc<WorkerContext>) {
    let last = worker.logs.take_due(Duration::MAX).into_iter();
    let last = join_all(last.map(|batch| deliver(Rc::clone(worker), batch)));
    if tokio::time::timeout(LAST_PATIENCE, last).await.is_err() {
        tracing::warn!("the last entries of access logs are lost: their services do not answer");
    }
}

async fn deliver(worker: Rc<WorkerContext>, batch: LogBatch) {
    if batch.dropped > 0 {
        tracing::warn!(
            log = batch.service.name,
            entries = batch.dropped,
            "entries of an access log are lost: too many waited for the service"
        );
    }
    let identity = &worker.identity;
    let source = LogSource {
        node: text(&identity.id),
        cluster: text(&identity.cluster),
    };
    let mut target = batch.service.target.clone();
    // The service is not told how long it may take.
    let patience = target.timeout.take().unwrap_or(PATIENCE);
    let metadata: HeaderMap = target
        .metadata
        .iter()
        .filter_map(|header| match &header.name {
            ir::HeaderTarget::Name(name) => Some((name.clone(), header.literal.clone()?)),
            _ => None,
        })
        .collect();
    let path = PathAndQuery::from_static(batch.path());
    let message = batch.message(source);
    let call = grpc_body(&worker, &target, path, metadata, &message);
    let result = tokio::time::timeout(patience, call).await;
    if let Err(failure) = result.unwrap_or(Err(CallFailure::Timeout.into())) {
        tracing::warn!(
            log = batch.service.name,
            cluster = target.cluster,
            entries = batch.count,
            %failure,
            "entries of an access log are lost"
        );
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
