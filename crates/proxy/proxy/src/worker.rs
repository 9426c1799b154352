//! A worker: one thread, one single-threaded runtime, its own pools and statistics shard.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use meltemi_admin::ServerStatus;
use meltemi_http::{Identity, WorkerContext, WorkerParts, deliver_last_logs, deliver_logs};
use meltemi_lifecycle::{Clock, DrainSignal, Random, WorkerId};
use meltemi_listener::{Accept, ListenerManager, serve_worker};
use meltemi_telemetry::StatsRegistry;
use meltemi_upstream::{ClusterManager, Pools};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::UnboundedReceiver;

/// How long a log line may wait in its worker's buffer.
const LOG_FLUSH: Duration = Duration::from_millis(100);

/// What a worker thread is started with.
pub(crate) struct WorkerStart {
    pub worker: WorkerId,
    pub listeners: Arc<ListenerManager>,
    pub clusters: Arc<ClusterManager>,
    pub stats: Arc<StatsRegistry>,
    pub identity: Identity,
    pub local_ip: Option<std::net::IpAddr>,
    /// Says whether the server fails health checks.
    pub status: Arc<ServerStatus>,
    pub random: Random,
    pub clock: Clock,
    pub sockets: UnboundedReceiver<Accept>,
    /// Ends the thread and every connection left on it.
    pub stop: DrainSignal,
}

impl WorkerStart {
    /// Starts the thread.
    pub fn spawn(self) -> io::Result<JoinHandle<()>> {
        // it cannot leave the thread that makes it
        let (made, is_made) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("wrk:{}", self.worker.0))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                // the other end waits for it
                match runtime {
                    Err(error) => drop(made.send(Err(error))),
                    Ok(runtime) => {
                        drop(made.send(Ok(())));
                        runtime.block_on(self.serve());
                    }
                }
            })?;
        is_made.recv().unwrap_or(Ok(()))?;
        Ok(thread)
    }

    async fn serve(self) {
        let Self {
            worker,
            listeners,
            clusters,
            stats,
            identity,
            local_ip,
            status,
            random,
            clock,
            sockets,
            mut stop,
        } = self;
        let recorder = stats.istio().recorder(worker, Arc::clone(&identity.peer));
        let context = WorkerContext::new(WorkerParts {
            worker,
            pools: Pools::new(clusters, worker),
            random,
            clock,
            recorder,
            identity,
            local_ip,
            failing: Arc::new(move || status.fails_health_checks()),
        });
        let flushing = Rc::clone(&context);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(LOG_FLUSH).await;
                flushing.logs.flush();
                deliver_logs(&flushing, LOG_FLUSH);
            }
        });
        tokio::select! {
            () = serve_worker(&listeners, Rc::clone(&context), sockets) => {}
            () = stop.draining() => {}
        }
        context.logs.flush();
        deliver_last_logs(&context).await;
    }
}
