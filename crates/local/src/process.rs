//! One process: started, its output kept, started again when it dies, ended when asked.
//!
//! In: a [`ProcessPlan`]. Out: reports, log files, and word of its death to the pod. Every process
//! leads a process group, so that what it starts ends with it; and it dies with `up`, however that
//! ends ([`crate::guard`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use meltemi_lifecycle::DrainSignal;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::pod::{PodName, ProcessPlan};
use crate::report::{Report, Reporter};

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Back-off of restarts: doubles from the first to the last.
const FIRST_RESTART: Duration = Duration::from_millis(200);
const LAST_RESTART: Duration = Duration::from_secs(10);

/// A process that has run for this long begins its back-off anew.
const STABLE: Duration = Duration::from_secs(10);

/// Where output goes.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// To a file in this directory.
    Files(PathBuf),
    /// To the reporter, as lines of this source.
    Lines(String),
}

/// What a process needs beside its plan.
#[derive(Debug, Clone)]
pub(crate) struct ProcessContext {
    /// This program, which becomes the process.
    pub executable: PathBuf,
    /// Where its output goes.
    pub output: Output,
    /// Where its death is told.
    pub reporter: Reporter,
    /// Ends the patience with processes that do not end.
    pub kill: DrainSignal,
}

/// Keeps the process running until `stop`; tells `died` each time it does not.
pub(crate) async fn supervise(
    pod: PodName,
    plan: ProcessPlan,
    mut context: ProcessContext,
    mut stop: DrainSignal,
    died: mpsc::Sender<()>,
) {
    let mut pause = FIRST_RESTART;
    while !stop.is_draining() {
        let began = Instant::now();
        let how = match start(&plan, &context) {
            Ok(mut child) => {
                let group = child.id();
                tokio::select! {
                    status = child.wait() => {
                        end_group(group);
                        describe(status)
                    }
                    () = stop.draining() => {
                        end(&mut child, &mut context.kill).await;
                        return;
                    }
                }
            }
            Err(error) => format!("cannot be started: {error}"),
        };
        if began.elapsed() >= STABLE {
            pause = FIRST_RESTART;
        }
        context.reporter.tell(Report::Exited {
            pod: pod.clone(),
            process: plan.name.clone(),
            how,
            log: context.output.file(&plan.name),
            restart_in: pause,
        });
        // ignored: a pod that no longer listens is ending
        let _ = died.try_send(());
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.draining() => return,
        }
        pause = (pause * 2).min(LAST_RESTART);
    }
}

impl Output {
    fn file(&self, process: &str) -> Option<PathBuf> {
        match self {
            Self::Files(directory) => Some(directory.join(format!("{process}.log"))),
            Self::Lines(_) => None,
        }
    }
}

fn start(plan: &ProcessPlan, context: &ProcessContext) -> io::Result<Child> {
    let mut command = Command::new(&context.executable);
    command
        .arg("child")
        .arg(std::process::id().to_string())
        .arg("--")
        .arg(&plan.program)
        .args(&plan.args)
        .env_clear()
        .envs(&plan.env)
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(directory) = &plan.working_dir {
        command.current_dir(directory);
    }
    match &context.output {
        Output::Files(directory) => {
            let log = log_file(directory, &plan.name)?;
            command.stdout(log.try_clone()?).stderr(log);
            command.spawn()
        }
        Output::Lines(source) => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            if let Some(stdout) = child.stdout.take() {
                tokio::spawn(tell_lines(
                    stdout,
                    false,
                    source.clone(),
                    context.reporter.clone(),
                ));
            }
            if let Some(stderr) = child.stderr.take() {
                tokio::spawn(tell_lines(
                    stderr,
                    true,
                    source.clone(),
                    context.reporter.clone(),
                ));
            }
            Ok(child)
        }
    }
}

fn log_file(directory: &Path, process: &str) -> io::Result<File> {
    std::fs::create_dir_all(directory)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(directory.join(format!("{process}.log")))
}

async fn tell_lines(
    stream: impl AsyncRead + Unpin,
    stderr: bool,
    source: String,
    reporter: Reporter,
) {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line).await, Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        reporter.tell(Report::Output {
            source: source.clone(),
            stderr,
            line: text.trim_end_matches(['\r', '\n']).to_owned(),
        });
        line.clear();
    }
}

/// Asks the process to end, and kills what is left of it and its children after a while.
async fn end(child: &mut Child, kill: &mut DrainSignal) {
    let group = child.id();
    if let Some(id) = group {
        // ignored: it may have ended by itself just now
        let _ = killpg(pid(id), Signal::SIGTERM);
    }
    let patient = async {
        tokio::select! {
            _ = timeout(GRACE, child.wait()) => {}
            () = kill.draining() => {}
        }
    };
    patient.await;
    end_group(group);
    // ignored: it was killed, there is nothing more to do for it
    let _ = child.wait().await;
}

/// Kills what is left of a process group.
fn end_group(leader: Option<u32>) {
    if let Some(id) = leader {
        // ignored: a group that is empty is gone, which is what is wanted
        let _ = killpg(pid(id), Signal::SIGKILL);
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.cast_signed())
}

fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("was lost: {error}"),
    }
}
