//! Istio's standard metrics, as its `stats` filter reports them.
//!
//! Each worker has a recorder with a cache from label values to series, so that a request costs
//! a look-up and a few additions. What the labels say is decided in [`labels`].

mod labels;
mod series;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meltemi_ir::{IstioStats, Metadata};
use meltemi_lifecycle::WorkerId;

use self::labels::{Call, CallRef, ShortHasher};
use self::series::{HttpSeries, TcpSeries};
use crate::registry::{Exposition, Kind};
use crate::{GrpcStatus, PeerInfo, RecordFields, Sharded, StatsQuery, StreamRecord};

/// The metrics of the whole process.
#[derive(Debug)]
pub struct IstioMetrics {
    workers: Sharded<WorkerSeries>,
    /// `istio_build`'s tag.
    build: Mutex<Option<String>>,
}

/// The series of one worker; the lock is taken for a new one and when they are printed.
#[derive(Debug, Default)]
struct WorkerSeries(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    http: Vec<Arc<HttpSeries>>,
    tcp: Vec<Arc<TcpSeries>>,
}

/// One worker's end of [`IstioMetrics`]; not shared between threads.
#[derive(Debug)]
pub struct IstioRecorder {
    metrics: Arc<IstioMetrics>,
    worker: WorkerId,
    own: Arc<PeerInfo>,
    http: RefCell<Cache<HttpSeries>>,
    tcp: RefCell<Cache<TcpSeries>>,
    /// Peers by what the control plane says of their endpoints.
    endpoints: RefCell<HashMap<String, Option<Arc<PeerInfo>>>>,
}

/// Series by the hash of their labels' values, then by these.
type Cache<T> = HashMap<u64, Vec<(Call, Arc<T>)>>;

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

/// The metrics of one TCP connection, its labels decided when it was opened.
#[derive(Debug)]
pub struct TcpMetrics(Arc<TcpSeries>);

impl IstioMetrics {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: Sharded::new(workers),
            build: Mutex::default(),
        })
    }

    /// Reports `istio_build{component="proxy"}` with this version, node metadata's
    /// `ISTIO_VERSION`.
    pub fn set_build(&self, version: &str) {
        let version = if version.is_empty() {
            labels::UNKNOWN
        } else {
            version
        };
        *lock(&self.build) = Some(version.to_owned());
    }

    /// The recorder of a worker that is this workload.
    pub fn recorder(self: &Arc<Self>, worker: WorkerId, own: Arc<PeerInfo>) -> IstioRecorder {
        IstioRecorder {
            metrics: self.clone(),
            worker,
            own,
            http: RefCell::default(),
            tcp: RefCell::default(),
            endpoints: RefCell::default(),
        }
    }

    /// Adds every series to what Prometheus is told.
    pub(crate) fn expose(&self, exposition: &mut Exposition, query: &StatsQuery) {
        if let Some(version) = lock(&self.build).as_deref() {
            let labels = [("component", "proxy"), ("tag", version)];
            series::number(
                exposition,
                query,
                Kind::Gauge,
                "istio_build",
                labels.into_iter(),
                1,
            );
        }
        for worker in self.workers.iter() {
            let lists = lock(&worker.0);
            lists
                .http
                .iter()
                .for_each(|series| series.expose(exposition, query));
            lists
                .tcp
                .iter()
                .for_each(|series| series.expose(exposition, query));
        }
    }

    /// Sets every counter to zero.
    pub(crate) fn reset_counters(&self) {
        for worker in self.workers.iter() {
            let lists = lock(&worker.0);
            lists.http.iter().for_each(|series| series.reset());
            lists.tcp.iter().for_each(|series| series.reset());
        }
    }
}

impl IstioRecorder {
    /// Which headers a record must hold for these metrics.
    pub fn fields() -> RecordFields {
        GrpcStatus::fields()
    }

    /// Counts a finished HTTP or gRPC request.
    pub fn request(&self, config: &IstioStats, record: &StreamRecord<'_>) {
        let endpoint = self.endpoint(record);
        let call = CallRef::http(config, &self.own, record, endpoint.as_deref());
        let mut cache = self.http.borrow_mut();
        let series = entry(&mut cache, &call, || {
            let series = Arc::new(HttpSeries::new(call.labels()));
            lock(&self.metrics.workers.shard(self.worker).0)
                .http
                .push(series.clone());
            series
        });
        series.request(record);
    }

    /// Counts what happened to a TCP connection since the last report, under labels as they are
    /// now. Where a connection is reported more than once, [`Self::open_tcp`] keeps its labels.
    pub fn tcp(&self, config: &IstioStats, record: &StreamRecord<'_>, delta: TcpDelta) {
        self.tcp_series(config, record).count(delta);
    }

    /// Counts a TCP connection that has been opened; bytes and its end are told to what this
    /// returns, so that all of it has the same labels. Call it when the upstream is known, or when
    /// the connection ends without one.
    pub fn open_tcp(&self, config: &IstioStats, record: &StreamRecord<'_>) -> TcpMetrics {
        let series = self.tcp_series(config, record);
        series.opened.inc();
        TcpMetrics(series)
    }

    fn tcp_series(&self, config: &IstioStats, record: &StreamRecord<'_>) -> Arc<TcpSeries> {
        let endpoint = self.endpoint(record);
        let call = CallRef::tcp(config, &self.own, record, endpoint.as_deref());
        let mut cache = self.tcp.borrow_mut();
        let series = entry(&mut cache, &call, || {
            let series = Arc::new(TcpSeries::new(call.labels()));
            let lists = &self.metrics.workers.shard(self.worker).0;
            lock(lists).tcp.push(series.clone());
            series
        });
        series.clone()
    }

    /// Who the endpoint is as the control plane says, where the upstream did not say itself.
    fn endpoint(&self, record: &StreamRecord<'_>) -> Option<Arc<PeerInfo>> {
        if record.upstream_peer.is_some() {
            return None;
        }
        let metadata: &Metadata = record.upstream.as_ref()?.host_metadata?;
        let key = metadata.get("istio", "workload")?.as_str()?;
        let mut known = self.endpoints.borrow_mut();
        if let Some(peer) = known.get(key) {
            return peer.clone();
        }
        let peer = PeerInfo::from_endpoint(metadata).map(Arc::new);
        known.insert(key.to_owned(), peer.clone());
        peer
    }
}

impl TcpMetrics {
    /// Counts bytes since the last report, sent to and received from downstream.
    pub fn bytes(&self, sent: u64, received: u64) {
        self.0.sent.add(sent);
        self.0.received.add(received);
    }

    /// Counts the connection's end.
    pub fn closed(self) {
        self.0.closed.inc();
    }
}

fn entry<'c, T>(
    cache: &'c mut Cache<T>,
    call: &CallRef<'_>,
    new: impl FnOnce() -> Arc<T>,
) -> &'c Arc<T> {
    let mut hasher = ShortHasher::default();
    call.hash(&mut hasher);
    let candidates = cache.entry(hasher.finish()).or_default();
    let known = candidates.iter().position(|(known, _)| known.is(call));
    let at = known.unwrap_or_else(|| {
        candidates.push((call.owned(), new()));
        candidates.len() - 1
    });
    &candidates[at].1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
