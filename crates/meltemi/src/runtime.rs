//! Runtimes, and the signals that end them.
//!
//! In: what a command runs. Out: its result. The first SIGINT or SIGTERM asks for the end, a second
//! one for haste.

use std::future::Future;

use anyhow::{Context as _, Result};
use meltemi_lifecycle::{Drain, DrainSignal};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A runtime on this thread alone.
///
/// # Errors
/// When the system has no room for it.
pub(crate) fn single_threaded() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("no runtime")
}

/// A runtime with a few threads, for administration and discovery beside a proxy's own workers.
///
/// # Errors
/// As [`single_threaded`].
pub(crate) fn multi_threaded(threads: usize) -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("main")
        .enable_all()
        .build();
    runtime.context("no runtime")
}

/// Runs `work` until it is done, on `runtime`; `work` gets the signal of the end and that of haste.
///
/// # Errors
/// Those of `work`, or when signals cannot be had.
pub(crate) fn until_signal<W, F, T>(runtime: &Runtime, work: W) -> Result<T>
where
    W: FnOnce(DrainSignal, DrainSignal) -> F,
    F: Future<Output = Result<T>>,
{
    runtime.block_on(async {
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [interrupt, terminate] = signals;
        let (interrupt, terminate) = (interrupt?, terminate?);
        let (drain, draining) = Drain::new();
        let (kill, killing) = Drain::new();
        let listening = tokio::spawn(listen(interrupt, terminate, drain, kill));
        let result = work(draining, killing).await;
        listening.abort();
        result
    })
}

async fn listen(mut interrupt: Signal, mut terminate: Signal, drain: Drain, kill: Drain) {
    for step in [&drain, &kill] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        step.start();
    }
    // the drains must outlive their signals' use: dropping them silently ends nothing
    std::future::pending().await
}
