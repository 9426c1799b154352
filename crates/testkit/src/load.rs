//! Steady load: the same request over keep-alive connections until told to stop.
//!
//! Tests start it, change something, stop it, and look at what failed meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{ClientError, RawClient};
use crate::message::{Request, Response};

const PATIENCE: Duration = Duration::from_secs(30);

type Classify = dyn Fn(&Response) -> String + Send + Sync;

/// A running load on a thread of its own; dropping it stops it.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the load saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Responses by the class that the test's function gave them.
    pub classes: BTreeMap<String, u64>,
    /// Connections opened.
    pub connections: u64,
    /// Requests with no whole response, in words; a connection closed unannounced is one.
    pub errors: Vec<String>,
}

struct Shared {
    address: SocketAddr,
    request: Request,
    classify: Option<Box<Classify>>,
    stopping: AtomicBool,
    report: Mutex<LoadReport>,
}

impl Load {
    /// Sends `request` to `address` over and over on `connections` connections.
    #[must_use]
    pub fn start(address: SocketAddr, request: Request, connections: usize) -> Self {
        Self::run(address, request, connections, None)
    }

    /// As [`Load::start`], and counts responses by what `classify` says of each.
    #[must_use]
    pub fn classified<F>(
        address: SocketAddr,
        request: Request,
        connections: usize,
        classify: F,
    ) -> Self
    where
        F: Fn(&Response) -> String + Send + Sync + 'static,
    {
        Self::run(address, request, connections, Some(Box::new(classify)))
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> LoadReport {
        self.shared.with_report(|report| report.clone())
    }

    /// What was seen since the start or the last call of this method.
    #[must_use]
    pub fn take_report(&self) -> LoadReport {
        self.shared.with_report(std::mem::take)
    }

    /// Lets every request in flight finish, stops, and reports.
    #[must_use]
    pub fn stop(mut self) -> LoadReport {
        self.finish();
        self.report()
    }

    fn run(
        address: SocketAddr,
        request: Request,
        connections: usize,
        classify: Option<Box<Classify>>,
    ) -> Self {
        let shared = Arc::new(Shared {
            address,
            request,
            classify,
            stopping: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let worked = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("load on {address}"))
            .spawn(move || drive(&worked, connections))
            .expect("a thread can be started");
        Self {
            shared,
            thread: Some(thread),
        }
    }

    fn finish(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // ignored: a panic on the load's thread was printed there
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.finish();
    }
}

impl LoadReport {
    /// Responses received, of any status.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Responses of one status.
    #[must_use]
    pub fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Whether every request got a whole response of status 200, and at least one did.
    #[must_use]
    pub fn all_ok(&self) -> bool {
        self.errors.is_empty() && self.responses() > 0 && self.status(200) == self.responses()
    }
}

impl Shared {
    fn with_report<T>(&self, use_it: impl FnOnce(&mut LoadReport) -> T) -> T {
        use_it(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    async fn worker(self: Arc<Self>) {
        while !self.stopping() {
            if let Err(error) = self.connection().await {
                self.with_report(|report| report.errors.push(error.to_string()));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn connection(&self) -> Result<(), ClientError> {
        let mut client = RawClient::connect(self.address).await?;
        self.with_report(|report| report.connections += 1);
        while !self.stopping() {
            let response =
                match tokio::time::timeout(PATIENCE, client.exchange(&self.request)).await {
                    Ok(response) => response?,
                    Err(_) => {
                        return Err(ClientError::TimedOut {
                            address: self.address,
                            within: PATIENCE,
                        });
                    }
                };
            let class = self.classify.as_ref().map(|classify| classify(&response));
            self.with_report(|report| {
                *report.statuses.entry(response.status).or_default() += 1;
                if let Some(class) = class {
                    *report.classes.entry(class).or_default() += 1;
                }
            });
            if response.headers.has_token("connection", "close") {
                break;
            }
        }
        Ok(())
    }
}

fn drive(shared: &Arc<Shared>, connections: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let workers: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(Arc::clone(shared).worker()))
            .collect();
        for worker in workers {
            // ignored: a worker's panic was printed by its task
            let _ = worker.await;
        }
    });
}

#[cfg(test)]
mod tests;
