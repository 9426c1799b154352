//! The mesh on this machine, assembled.
//!
//! In: [`Options`]. Out: a control plane in this process, a process for each proxy and application,
//! reports of what they do. [`run`] is the whole of `meltemi up`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use meltemi_discovery::judge;
use meltemi_lifecycle::DrainSignal;
use meltemi_model::{Defaults, Workload};
use meltemi_source::{Event, FileProblems, SourceError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::addresses::Loopback;
use crate::control_plane::{ControlPlane, ControlPlaneError, Happened};
use crate::platform::{AccessLogging, Platform};
use crate::pod::{PlanContext, PodName, PodPlan, ProxyKind, ProxySettings, plan};
use crate::publish::{PublishError, Publisher};
use crate::report::{Report, Reporter};
use crate::runner::{PodEvent, RunnerContext, RunningPod};
use crate::settings::{Settings, SettingsError};
use crate::startup::Startup;
use crate::state::{MeshState, PodState, StateDirectory, StateError, write_private};

/// How long a pod that goes is kept after the proxies were told of it.
const SETTLE: Duration = Duration::from_secs(1);

/// How long the connections of a proxy that ends may take.
const DRAIN_SECONDS: u64 = 2;

/// How often the start is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Tokens live for a day and are made anew long before.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const TOKEN_RENEWAL: Duration = Duration::from_secs(6 * 3600);

/// Events that may wait.
const QUEUE: usize = 1024;

/// What a mesh is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directories (or files) of manifests.
    pub directories: Vec<PathBuf>,
    /// This program, which is every proxy and every stand-in too.
    pub executable: PathBuf,
    /// Variables that every process inherits.
    pub inherited: BTreeMap<String, String>,
    /// The mesh's addresses.
    pub loopback: Loopback,
    /// Where gateways' ports are published.
    pub publish: IpAddr,
    /// The published port in the place of a gateway's port 80.
    pub gateway_port: u16,
    /// Where keys, tokens, logs and the mesh's state lie.
    pub state_dir: PathBuf,
    /// Somebody named `state_dir`: keys and logs stay in it.
    pub state_dir_named: bool,
    /// Whether proxies write an access log.
    pub access_log: AccessLogging,
    /// Tell every line that a process writes, in the place of log files.
    pub verbose: bool,
    /// Worker threads of each proxy.
    pub concurrency: usize,
    /// What the proxies log.
    pub log_level: String,
    /// Where reports go.
    pub reporter: Reporter,
}

/// Why a mesh did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// `meltemi.yaml` is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory cannot be had.
    #[error(transparent)]
    State(#[from] StateError),
    /// The manifests cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The control plane does not start, or has ended.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// A gateway's port cannot be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// There is no manifest that asks for a workload.
    #[error("nothing to run: no Deployment and no Pod in {0}")]
    Nothing(String),
}

/// Runs a mesh until `shutdown`; `kill` ends the patience with processes that do not end.
///
/// Call it on a current-thread runtime of a thread that lives as long as the program: the processes
/// die with the thread that started them.
///
/// # Errors
/// When the mesh cannot start. Nothing is left running.
pub async fn run(
    options: Options,
    mut shutdown: DrainSignal,
    kill: DrainSignal,
) -> Result<(), UpError> {
    let settings = Settings::load(&options.directories)?;
    let state = StateDirectory::take(options.state_dir.clone(), options.state_dir_named)?;
    options
        .reporter
        .tell(Report::Starting { logs: state.logs() });
    let (sender, mut source) = mpsc::channel(QUEUE);
    let defaults = Defaults {
        judge: judge(),
        ..Defaults::default()
    };
    let watching = meltemi_source::watch(options.directories.clone(), defaults, sender);
    let watching = tokio::spawn(watching);

    let mut platform = Platform::new(options.loopback, options.access_log);
    let mut initial = Vec::new();
    loop {
        let Some(event) = source.recv().await else {
            return Err(source_error(watching).await);
        };
        tell_problems(&options.reporter, &event);
        let last = event == Event::Ready;
        initial.extend(platform.on(event));
        if last {
            break;
        }
    }
    if platform.pods().is_empty() {
        let names = options
            .directories
            .iter()
            .map(|it| it.display().to_string());
        let names: Vec<_> = names.collect();
        return Err(UpError::Nothing(names.join(", ")));
    }
    let control_plane = ControlPlane::start(options.loopback, state.ca(), initial).await?;
    options.reporter.tell(Report::ControlPlane {
        discovery: control_plane.discovery(),
        debug: control_plane.debug(),
    });
    let (pod_events, mut events) = mpsc::unbounded_channel();
    let mut mesh = Mesh {
        proxy: ProxySettings {
            discovery: control_plane.discovery(),
            root_cert: control_plane.root_cert().to_owned(),
            trust_domain: control_plane.trust_domain().to_string(),
            tokens: state.tokens(),
            concurrency: options.concurrency,
            drain_seconds: DRAIN_SECONDS,
            log_level: options.log_level.clone(),
        },
        runner: RunnerContext {
            executable: options.executable.clone(),
            logs: (!options.verbose).then(|| state.logs()),
            reporter: options.reporter.clone(),
            kill,
            events: pod_events,
        },
        publisher: Publisher::new(
            options.publish,
            options.gateway_port,
            options.reporter.clone(),
        ),
        startup: Some(Startup::begin(control_plane.debug())),
        options,
        settings,
        state,
        platform,
        control_plane,
        pods: BTreeMap::new(),
        missing: BTreeMap::new(),
        written: None,
    };
    let result = mesh.serve(&mut source, &mut events, &mut shutdown).await;
    watching.abort();
    mesh.stop().await;
    result
}

/// A running mesh.
struct Mesh {
    options: Options,
    settings: Settings,
    state: StateDirectory,
    platform: Platform,
    control_plane: ControlPlane,
    proxy: ProxySettings,
    runner: RunnerContext,
    publisher: Publisher,
    /// Present until the mesh was ready once, or took too long.
    startup: Option<Startup>,
    pods: BTreeMap<PodName, RunningPod>,
    /// What pods had to do without, as last told.
    missing: BTreeMap<PodName, Vec<String>>,
    /// The state file as last written.
    written: Option<MeshState>,
}

impl Mesh {
    async fn serve(
        &mut self,
        source: &mut mpsc::Receiver<Event>,
        events: &mut mpsc::UnboundedReceiver<PodEvent>,
        shutdown: &mut DrainSignal,
    ) -> Result<(), UpError> {
        self.reconcile().await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal = interval(TOKEN_RENEWAL);
        renewal.reset();
        loop {
            let changed = tokio::select! {
                () = shutdown.draining() => return Ok(()),
                happened = self.control_plane.happened() => match happened {
                    Happened::Failed(error) => return Err(error.into()),
                    Happened::RootsWritten(Ok(())) => false,
                    Happened::RootsWritten(Err(error)) => {
                        self.warn(error.to_string());
                        false
                    }
                },
                event = source.recv() => match event {
                    Some(event) => {
                        self.on_source(event);
                        while let Ok(event) = source.try_recv() {
                            self.on_source(event);
                        }
                        true
                    }
                    // the watcher ended; what was read stays
                    None => std::future::pending().await,
                },
                Some(event) = events.recv() => self.on_pod(event).await,
                _ = tick.tick(), if self.startup.is_some() => {
                    self.look_at_startup();
                    false
                }
                _ = renewal.tick() => {
                    self.renew_tokens();
                    false
                }
            };
            if changed && let Err(error) = self.reconcile().await {
                self.warn(error.to_string());
            }
        }
    }

    fn on_source(&mut self, event: Event) {
        tell_problems(&self.options.reporter, &event);
        let events = self.platform.on(event);
        self.control_plane.forward(events);
    }

    /// Whether other pods may be wanted now.
    async fn on_pod(&mut self, event: PodEvent) -> bool {
        let events = match event {
            PodEvent::Ready(name) => {
                if self.startup.is_none() {
                    self.options.reporter.tell(Report::PodReady(name.clone()));
                }
                self.platform.set_ready(&name, true)
            }
            PodEvent::Unready(name) => self.platform.set_ready(&name, false),
            PodEvent::Stopped(name) => {
                if let Some(pod) = self.pods.remove(&name) {
                    pod.ended().await;
                    self.options.reporter.tell(Report::PodStopped(name.clone()));
                }
                let wanted = self.platform.pods().iter().any(|it| it.name() == name);
                if !wanted {
                    self.platform.forget(&name);
                    self.missing.remove(&name);
                }
                Vec::new()
            }
        };
        self.control_plane.forward(events);
        true
    }

    fn look_at_startup(&mut self) {
        let Some(startup) = &mut self.startup else {
            return;
        };
        let lacking = startup.lacking(self.pods.values());
        if lacking.is_empty() {
            let mut pods = self.pods.values();
            let example = pods.find(|it| it.plan.proxy == ProxyKind::Sidecar);
            self.options.reporter.tell(Report::Ready {
                commands: self.settings.r#try.clone(),
                example: example.map(|it| it.plan.workload.clone()),
            });
        } else if startup.is_late() {
            self.options.reporter.tell(Report::NotReady(lacking));
        } else {
            return;
        }
        self.startup = None;
        let events = self.platform.started();
        self.control_plane.forward(events);
    }

    /// Starts, restarts and stops pods, publishes ports, writes the state file: as the platform says.
    async fn reconcile(&mut self) -> Result<(), UpError> {
        let wanted = self.plans();
        for (name, pod) in &mut self.pods {
            match wanted.get(name) {
                None if !pod.is_stopping() => pod.stop_after(SETTLE),
                Some(plan) if *plan != pod.plan && !pod.is_stopping() => pod.stop(),
                None | Some(_) => {}
            }
        }
        for (name, plan) in wanted {
            if !self.pods.contains_key(&name) {
                self.write_token(&plan)?;
                self.pods
                    .insert(name, RunningPod::start(plan, &self.runner));
            }
        }
        for warning in self.platform.take_warnings() {
            self.warn(warning);
        }
        let published = self.publisher.set(self.platform.gateway_ports()).await;
        self.write_state()?;
        Ok(published?)
    }

    /// The plans of all pods; tells what they have to do without.
    fn plans(&mut self) -> BTreeMap<PodName, PodPlan> {
        let proxy_config = |workload: &Workload| self.platform.proxy_config(workload);
        let context = PlanContext {
            executable: &self.options.executable,
            settings: &self.settings,
            inherited: &self.options.inherited,
            proxy: &self.proxy,
            proxy_config: &proxy_config,
            values: &self.platform,
        };
        let mut plans = BTreeMap::new();
        let mut warnings = Vec::new();
        for pod in self.platform.pods() {
            let (plan, missing) = plan(&pod, &context);
            let name = plan.pod.clone();
            if self.missing.get(&name) != Some(&missing) {
                warnings.extend(missing.iter().map(|what| format!("{name}: {what}")));
                self.missing.insert(name.clone(), missing);
            }
            plans.insert(name, plan);
        }
        for warning in warnings {
            self.warn(warning);
        }
        plans
    }

    fn write_token(&self, plan: &PodPlan) -> Result<(), UpError> {
        if plan.proxy == ProxyKind::None {
            return Ok(());
        }
        let (namespace, account) = (&plan.pod.namespace, &plan.service_account);
        let token = self
            .control_plane
            .token(namespace, account, TOKEN_LIFETIME)?;
        let path = self.proxy.token(namespace, account);
        Ok(write_private(&path, token.as_bytes())?)
    }

    fn renew_tokens(&self) {
        for pod in self.pods.values() {
            if let Err(error) = self.write_token(&pod.plan) {
                self.warn(error.to_string());
            }
        }
    }

    fn write_state(&mut self) -> Result<(), StateError> {
        let pods = self.pods.values().filter(|it| !it.is_stopping());
        let state = MeshState {
            pid: std::process::id(),
            directories: self.options.directories.clone(),
            loopback: self.options.loopback.to_string(),
            discovery: self.control_plane.discovery(),
            debug: self.control_plane.debug(),
            logs: self.runner.logs.clone(),
            published: self.publisher.published(),
            pods: pods.map(|it| pod_state(&it.plan)).collect(),
        };
        if self.written.as_ref() != Some(&state) {
            self.state.write(&state)?;
            self.written = Some(state);
        }
        Ok(())
    }

    fn warn(&self, text: String) {
        self.options.reporter.tell(Report::Warning(text));
    }

    /// Ends everything, the control plane last.
    async fn stop(self) {
        self.options.reporter.tell(Report::Stopping);
        let mut pods = self.pods;
        for pod in pods.values_mut() {
            pod.stop();
        }
        for pod in pods.into_values() {
            pod.ended().await;
        }
        drop(self.publisher);
        self.control_plane.stop().await;
        if let Err(error) = self.state.leave() {
            self.options
                .reporter
                .tell(Report::Warning(error.to_string()));
        }
    }
}

fn pod_state(plan: &PodPlan) -> PodState {
    PodState {
        name: plan.pod.name.clone(),
        namespace: plan.pod.namespace.clone(),
        workload: plan.workload.clone(),
        ip: plan.ip,
        proxy: plan.proxy,
        admin: plan.admin,
        applications: plan.listens.clone(),
    }
}

fn tell_problems(reporter: &Reporter, event: &Event) {
    if let Event::Problems(FileProblems { new, resolved, .. }) = event {
        for problem in resolved {
            reporter.tell(Report::Resolved(problem.clone()));
        }
        for problem in new {
            reporter.tell(Report::Problem(problem.clone()));
        }
    }
}

async fn source_error(watching: JoinHandle<Result<(), SourceError>>) -> UpError {
    match watching.await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => unreachable!("the watcher ends with an error or with its receiver"),
    }
}
