//! Running pods: their processes, and whether they can take requests.
//!
//! In: [`PodPlan`]s. Out: processes, and [`PodEvent`]s to the mesh's loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meltemi_lifecycle::{Drain, DrainSignal};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::http;
use crate::pod::{PodName, PodPlan, ProxyKind};
use crate::process::{Output, ProcessContext, supervise};
use crate::report::{PodReport, Report, Reporter};

/// How often a pod that is not ready is asked again.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// After this long an application that accepts no connections is taken for one that never will: it
/// may listen elsewhere than it declares.
const APPLICATION_LIMIT: Duration = Duration::from_secs(10);

/// What happens to a pod.
#[derive(Debug)]
pub(crate) enum PodEvent {
    /// It can take requests.
    Ready(PodName),
    /// It no longer can.
    Unready(PodName),
    /// Its processes have ended, as they were asked to.
    Stopped(PodName),
}

/// What running pods share.
#[derive(Debug, Clone)]
pub(crate) struct RunnerContext {
    pub executable: PathBuf,
    /// Where logs go; `None` to tell every line.
    pub logs: Option<PathBuf>,
    pub reporter: Reporter,
    pub kill: DrainSignal,
    pub events: mpsc::UnboundedSender<PodEvent>,
}

/// A running pod.
#[derive(Debug)]
pub(crate) struct RunningPod {
    /// What it runs by.
    pub plan: PodPlan,
    stop: Arc<Drain>,
    waiting: watch::Receiver<Option<String>>,
    stopping: bool,
    task: JoinHandle<()>,
}

impl RunningPod {
    /// Starts the processes.
    pub(crate) fn start(plan: PodPlan, context: &RunnerContext) -> Self {
        context.reporter.tell(Report::PodStarted(report(&plan)));
        let (stop, signal) = Drain::new();
        let (state, waiting) = watch::channel(Some("starting".to_owned()));
        let task = tokio::spawn(run(plan.clone(), context.clone(), signal, state));
        Self {
            plan,
            stop: Arc::new(stop),
            waiting,
            stopping: false,
            task,
        }
    }

    /// What it still lacks to take requests; `None` if it takes them.
    pub(crate) fn lacks(&self) -> Option<String> {
        self.waiting.borrow().clone()
    }

    /// Whether it was asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Asks its processes to end, after others have had time to learn that it goes.
    pub(crate) fn stop_after(&mut self, delay: Duration) {
        self.stopping = true;
        let stop = Arc::clone(&self.stop);
        tokio::spawn(async move {
            sleep(delay).await;
            stop.start();
        });
    }

    /// Asks its processes to end now.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.stop.start();
    }

    /// Waits until they have.
    pub(crate) async fn ended(self) {
        // ignored: a panic of the task was printed, its processes are killed as it drops them
        let _ = self.task.await;
    }
}

async fn run(
    plan: PodPlan,
    context: RunnerContext,
    mut stop: DrainSignal,
    state: watch::Sender<Option<String>>,
) {
    let (died, mut deaths) = mpsc::channel(1);
    let processes: Vec<_> = plan
        .processes
        .iter()
        .map(|process| {
            let context = ProcessContext {
                executable: context.executable.clone(),
                output: output(&plan, &context),
                reporter: context.reporter.clone(),
                kill: context.kill.clone(),
            };
            let (pod, process) = (plan.pod.clone(), process.clone());
            tokio::spawn(supervise(pod, process, context, stop.clone(), died.clone()))
        })
        .collect();
    let watched = async {
        loop {
            become_ready(&plan, &context.reporter, &state).await;
            state.send_replace(None);
            let _ = context.events.send(PodEvent::Ready(plan.pod.clone()));
            // the sender lives as long as this function
            let _ = deaths.recv().await;
            state.send_replace(Some("a process died".to_owned()));
            let _ = context.events.send(PodEvent::Unready(plan.pod.clone()));
        }
    };
    tokio::select! {
        () = watched => {}
        () = stop.draining() => {}
    }
    for process in processes {
        // ignored: as in `RunningPod::ended`
        let _ = process.await;
    }
    // ignored: the mesh ends and listens no longer
    let _ = context.events.send(PodEvent::Stopped(plan.pod));
}

fn output(plan: &PodPlan, context: &RunnerContext) -> Output {
    match &context.logs {
        Some(logs) => Output::Files(logs.join(plan.pod.name.as_str())),
        None => Output::Lines(plan.workload.clone()),
    }
}

/// Waits until the applications accept connections and the proxy has its configuration.
async fn become_ready(plan: &PodPlan, reporter: &Reporter, state: &watch::Sender<Option<String>>) {
    let limit = Instant::now() + APPLICATION_LIMIT;
    for &address in &plan.listens {
        while TcpStream::connect(address).await.is_err() {
            let what = format!("nothing listens on {address}");
            if Instant::now() >= limit {
                reporter.tell(Report::Warning(format!(
                    "{}: {what}; it gets requests all the same",
                    plan.pod
                )));
                break;
            }
            state.send_replace(Some(what));
            sleep(PROBE_INTERVAL).await;
        }
    }
    if let Some(admin) = plan.admin {
        while !proxy_is_ready(admin).await {
            let what = format!("its proxy is not ready, see http://{admin}/ready");
            state.send_replace(Some(what));
            sleep(PROBE_INTERVAL).await;
        }
    }
}

async fn proxy_is_ready(admin: SocketAddr) -> bool {
    let answer = http::get(&admin.to_string(), "/ready").await;
    answer.is_ok_and(|answer| answer.status.is_success())
}

fn report(plan: &PodPlan) -> PodReport {
    let applications = plan
        .processes
        .iter()
        .skip(usize::from(plan.proxy != ProxyKind::None));
    PodReport {
        name: plan.pod.clone(),
        workload: plan.workload.clone(),
        proxy: plan.proxy,
        ip: plan.ip,
        listens: plan.listens.clone(),
        applications: applications.map(|process| process.title.clone()).collect(),
    }
}
