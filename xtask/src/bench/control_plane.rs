//! `cargo xtask bench control-plane`: what changes cost a control plane with thousands of proxies.
//!
//! The control plane is the release program over a directory of files, as anybody would run it; the
//! proxies are clients in this process, each with a socket of its own, that speak delta xDS over gRPC,
//! confirm everything at once and ask for endpoints and routes as Envoy does. A change is a file that
//! is written; it has arrived when the last proxy that is concerned has confirmed it.

mod client;
mod mesh;
mod process;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Programs;
use super::measure::{processor_seconds, resident_kib};
use client::{Seen, Url};
use mesh::{Mesh, Size};
use process::ControlPlane;

/// What a push waits for at least: Istio's `PILOT_DEBOUNCE_AFTER`.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(120);
/// After a change that has arrived, nobody else must be sent anything for this long.
const QUIET: Duration = Duration::from_millis(150);
/// Changes a second, and for how many seconds, while the processor's time is measured.
const RATE: u64 = 100;
const RATE_SECONDS: u64 = 15;

/// The proxies' namespaces see themselves alone, or everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Namespace,
    Everything,
}

/// What one kind of change cost.
struct Changes {
    /// From the file to the last confirmation, in milliseconds, in order.
    milliseconds: Vec<f64>,
    /// Proxies that were sent something, for each change.
    proxies: usize,
    /// Bytes that each of them was sent.
    bytes: usize,
    /// Processor time of the control plane for each change, in milliseconds.
    processor: f64,
}

/// Runs the parts that are wanted: `namespace`, `everything`, `growth`.
pub fn run(programs: &Programs, only: Option<&str>, changes: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let whole = Size {
        services: 1000,
        endpoints: 10,
        proxies: 2000,
        namespaces: 20,
    };
    for (part, view) in [
        ("namespace", View::Namespace),
        ("everything", View::Everything),
    ] {
        if wanted(part) {
            println!("{whole}; each proxy sees {}", words(view));
            runtime.block_on(at_size(programs, whole, view, changes))?;
        }
    }
    if wanted("growth") {
        println!("what a change costs 40 proxies, against services that it does not touch");
        for view in [View::Namespace, View::Everything] {
            for services in [100, 1000, 10_000] {
                let size = Size {
                    services,
                    endpoints: 10,
                    proxies: 40,
                    namespaces: services / 50,
                };
                let result = runtime.block_on(growth(programs, size, view, changes));
                result.with_context(|| size.to_string())?;
            }
        }
    }
    Ok(())
}

fn words(view: View) -> &'static str {
    match view {
        View::Namespace => "its own namespace",
        View::Everything => "everything",
    }
}

/// A control plane with its proxies.
struct Running {
    control: ControlPlane,
    mesh: Mesh,
    seen: mpsc::UnboundedReceiver<Seen>,
    size: Size,
    view: View,
}

async fn at_size(programs: &Programs, size: Size, view: View, changes: usize) -> Result<()> {
    let mut running = Running::start(programs, size, view).await?;
    report_changes("endpoint change", &running.endpoints(changes).await?);
    let routes = running.routes(changes / 2).await?;
    report_changes("VirtualService change", &routes);
    running.rate().await?;
    let memory = resident_kib(running.control.process())? / 1024;
    println!("  memory in the end: {memory} MiB");
    Ok(())
}

async fn growth(programs: &Programs, size: Size, view: View, changes: usize) -> Result<()> {
    println!("  {} services, {} is seen", size.services, words(view));
    let mut running = Running::start(programs, size, view).await?;
    report_changes("endpoint change", &running.endpoints(changes).await?);
    let routes = running.routes(changes / 2).await?;
    report_changes("VirtualService change", &routes);
    Ok(())
}

impl Running {
    async fn start(programs: &Programs, size: Size, view: View) -> Result<Self> {
        let mesh = Mesh::write(size, view == View::Namespace)?;
        let control = ControlPlane::start(&programs.meltemi, mesh.directory())?;
        let memory = resident_kib(control.process())? / 1024;
        let ready = control.ready_after.as_secs_f64();
        println!("  ready after {ready:.1} s with {memory} MiB");
        let (report, mut seen) = mpsc::unbounded_channel();
        let before = processor_seconds(control.process())?;
        let start = Instant::now();
        for number in 0..size.proxies {
            let node = mesh.node(number);
            client::spawn(control.xds, number, node, report.clone());
        }
        let mut bytes = 0;
        let mut connected = 0;
        while connected < size.proxies {
            let message = timeout(PATIENCE, seen.recv()).await;
            let message = message.context("not all proxies connect")?;
            let message = message.context("no client is left")?;
            if let Some(problem) = message.problem {
                bail!("proxy {}: {problem}", message.proxy);
            }
            bytes += message.bytes;
            connected += usize::from(message.complete);
        }
        let took = start.elapsed().as_secs_f64();
        let spent = processor_seconds(control.process())? - before;
        let memory = resident_kib(control.process())? / 1024;
        println!(
            "  {connected} proxies are complete after {took:.1} s ({spent:.1} s of processor, {} MB sent), {memory} MiB",
            bytes / 1_000_000
        );
        Ok(Self {
            control,
            mesh,
            seen,
            size,
            view,
        })
    }

    /// How many proxies a change in one namespace concerns.
    fn concerned(&self) -> usize {
        match self.view {
            View::Namespace => self.size.proxies / self.mesh.used_namespaces(),
            View::Everything => self.size.proxies,
        }
    }

    async fn endpoints(&mut self, changes: usize) -> Result<Changes> {
        let mut place = 0;
        self.changes(changes, Url::Endpoint, |mesh| {
            place += 1;
            mesh.move_endpoint(place)
        })
        .await
    }

    async fn routes(&mut self, changes: usize) -> Result<Changes> {
        let mut place = 0;
        self.changes(changes, Url::Route, |mesh| {
            place += 1;
            mesh.change_route(place)
        })
        .await
    }

    async fn changes(
        &mut self,
        changes: usize,
        kind: Url,
        mut change: impl FnMut(&mut Mesh) -> Result<()>,
    ) -> Result<Changes> {
        let concerned = self.concerned();
        let mut milliseconds = Vec::new();
        let (mut bytes, mut messages) = (0, 0);
        let process = self.control.process();
        let before = processor_seconds(process)?;
        for _ in 0..changes {
            let start = Instant::now();
            change(&mut self.mesh)?;
            let mut arrived = 0;
            while arrived < concerned {
                let seen = timeout(PATIENCE, self.seen.recv()).await;
                let seen = seen.with_context(|| {
                    format!("a change reached {arrived} of {concerned} proxies")
                })?;
                let seen = seen.context("no client is left")?;
                if let Some(problem) = seen.problem {
                    bail!("proxy {}: {problem}", seen.proxy);
                }
                if seen.kind == Some(kind) {
                    arrived += 1;
                    bytes += seen.bytes;
                    messages += 1;
                }
            }
            milliseconds.push(start.elapsed().as_secs_f64() * 1000.0);
            if let Ok(Some(more)) = timeout(QUIET, self.seen.recv()).await {
                bail!("proxy {} was sent {:?} for nothing", more.proxy, more.kind);
            }
        }
        let spent = processor_seconds(process)? - before;
        milliseconds.sort_by(f64::total_cmp);
        Ok(Changes {
            milliseconds,
            proxies: messages / changes.max(1),
            bytes: bytes / messages.max(1),
            processor: spent * 1000.0 / changes.max(1) as f64,
        })
    }

    /// Many changes a second, one file each.
    async fn rate(&mut self) -> Result<()> {
        let process = self.control.process();
        let before = processor_seconds(process)?;
        let start = Instant::now();
        let mut bytes = 0;
        let mut next = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
        for number in 0..RATE * RATE_SECONDS {
            next.tick().await;
            self.mesh.move_endpoint(usize::try_from(number)?)?;
            while let Ok(seen) = self.seen.try_recv() {
                bytes += seen.bytes;
            }
        }
        while let Ok(Some(seen)) = timeout(Duration::from_secs(1), self.seen.recv()).await {
            bytes += seen.bytes;
        }
        let took = start.elapsed().as_secs_f64();
        let spent = processor_seconds(process)? - before;
        println!(
            "  {RATE} endpoint changes a second: {:.2} of a processor, {} MB sent in {took:.0} s",
            spent / took,
            bytes / 1_000_000
        );
        Ok(())
    }
}

fn report_changes(name: &str, changes: &Changes) {
    let Changes {
        milliseconds,
        proxies,
        bytes,
        processor,
    } = changes;
    let beyond = |share: f64| {
        let last = milliseconds.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        milliseconds
            .get(place)
            .map_or(0.0, |it| it - DEBOUNCE.as_secs_f64() * 1000.0)
    };
    println!(
        "  {name}: beyond the debounce p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms ({} changes); {proxies} proxies with {bytes} bytes each, {processor:.1} ms of processor",
        beyond(0.5),
        beyond(0.99),
        beyond(1.0),
        milliseconds.len(),
    );
}
