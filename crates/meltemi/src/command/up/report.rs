//! What `meltemi up` prints.
//!
//! In: reports of the mesh. Out: lines on standard output, problems on standard error.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meltemi_local::{Loopback, PodReport, ProxyKind, Published, Report};
use meltemi_model::ProblemKind;
use meltemi_proxy::LogLevel;

use crate::logging;
use crate::terminal::{Style, Terminal};

/// The file, among the logs, with what the control plane says.
const CONTROL_PLANE_LOG: &str = "control-plane.log";

/// Prints reports.
pub(super) struct Printer {
    terminal: Terminal,
    directories: String,
    loopback: Loopback,
    /// How to call this program again.
    program: String,
    /// Flags that the other commands need to find this mesh.
    flags: String,
    verbose: bool,
    published: Vec<Published>,
    ready: bool,
}

impl Printer {
    pub(super) fn new(
        terminal: Terminal,
        directories: &[PathBuf],
        loopback: Loopback,
        executable: &Path,
        verbose: bool,
    ) -> Self {
        let directories: Vec<_> = directories
            .iter()
            .map(|it| it.display().to_string())
            .collect();
        Self {
            terminal,
            directories: directories.join(", "),
            loopback,
            program: called(executable),
            flags: String::new(),
            verbose,
            published: Vec::new(),
            ready: false,
        }
    }

    /// The state directory was named and must be named again.
    pub(super) fn state_dir(&mut self, directory: &Path) {
        self.flags = format!(" --state-dir {}", directory.display());
    }

    /// Prints one report.
    pub(super) fn print(&mut self, report: Report) {
        match report {
            Report::Starting { logs } => self.starting(&logs),
            Report::ControlPlane { discovery, debug } => {
                self.line(
                    "control plane",
                    &format!("{discovery}, debug and metrics on http://{debug}/debug"),
                );
            }
            Report::PodStarted(pod) => self.pod(&pod),
            Report::PodReady(pod) => self.out(&format!("{pod} is ready")),
            Report::PodStopped(pod) => {
                if self.ready {
                    self.out(&format!("{pod} has stopped"));
                }
            }
            Report::Exited {
                pod,
                process,
                how,
                log,
                restart_in,
            } => self.exited(
                &format!("{pod}: {process}"),
                &how,
                log.as_deref(),
                restart_in,
            ),
            Report::Output {
                source,
                stderr,
                line,
            } => {
                let mark = self.terminal.paint(Style::Dim, &format!("[{source}]"));
                if stderr {
                    self.terminal.note(&format!("[{source}] {line}"));
                } else {
                    self.out(&format!("{mark} {line}"));
                }
            }
            Report::Problem(problem) if problem.kind == ProblemKind::Warning => {
                self.terminal.warning(&problem.to_string());
            }
            Report::Problem(problem) => {
                self.terminal.say(Style::Red, "error", &problem.to_string())
            }
            Report::Resolved(problem) => {
                self.terminal
                    .say(Style::Green, "resolved", &problem.to_string());
            }
            Report::Published(port) => {
                let text = format!("{} for port {} of {}", url(&port), port.port, port.service);
                self.line("published", &text);
                self.published.push(port);
            }
            Report::Unpublished(port) => {
                self.published.retain(|it| it.address != port.address);
                self.out(&format!("{} is published no longer", url(&port)));
            }
            Report::Warning(text) => self.terminal.warning(&text),
            Report::Ready { commands, example } => self.ready(&commands, example.as_deref()),
            Report::NotReady(missing) => {
                let text = format!("not ready yet:\n  {}", missing.join("\n  "));
                self.terminal.warning(&text);
                self.ready = true;
            }
            Report::Stopping => self.out("stopping"),
        }
    }

    fn starting(&self, logs: &Path) {
        let started = if self.verbose {
            logging::to_stderr(LogLevel::Warning).map(drop)
        } else {
            logging::to_file(LogLevel::Info, &logs.join(CONTROL_PLANE_LOG))
        };
        if let Err(error) = started {
            self.terminal.warning(&format!("{error:#}"));
        }
        self.out(&format!(
            "A mesh of {} on {}",
            self.directories, self.loopback
        ));
        if !self.verbose {
            self.line(
                "logs",
                &format!("{}/POD/{{proxy,CONTAINER}}.log", logs.display()),
            );
        }
    }

    fn pod(&self, pod: &PodReport) {
        let PodReport {
            name,
            // ignored: the pod's name begins with it
            workload: _,
            proxy,
            ip,
            listens,
            applications,
        } = pod;
        let what = match proxy {
            ProxyKind::Sidecar => "sidecar on",
            ProxyKind::Router => "gateway on",
            ProxyKind::None => "no sidecar,",
        };
        let mut text = format!("{what} {ip}");
        if !applications.is_empty() {
            let _ = write!(text, ", {}", applications.join(" and "));
        }
        if !listens.is_empty() {
            let listens: Vec<_> = listens.iter().map(SocketAddr::to_string).collect();
            let _ = write!(text, " on {}", listens.join(", "));
        }
        self.line(&name.to_string(), &text);
    }

    fn exited(&self, process: &str, how: &str, log: Option<&Path>, restart_in: Duration) {
        let mut text = format!("{process} {how}; it is started again in {restart_in:?}");
        if let Some(log) = log {
            let _ = write!(text, "; its log is {}", log.display());
        }
        self.terminal.warning(&text);
    }

    fn ready(&mut self, commands: &[String], example: Option<&str>) {
        self.ready = true;
        let gateway = self.published.first().map(url);
        let meltemi = format!("{}{}", self.program, self.flags);
        let own = commands
            .iter()
            .filter(|it| gateway.is_some() || !it.contains("{gateway}"));
        let mut tries: Vec<_> = own.cloned().collect();
        if tries.is_empty() {
            tries.extend(gateway.is_some().then(|| "curl {gateway}/".to_owned()));
            tries.push("{meltemi} proxy-status".to_owned());
            tries.extend(example.map(|it| format!("{{meltemi}} proxy-config route {it}")));
        }
        let mut text = self.terminal.paint(Style::Green, "ready");
        text.push_str("\n\nTry:\n");
        for command in tries {
            let command = command.replace("{gateway}", gateway.as_deref().unwrap_or_default());
            let command = command.replace("{meltemi}", &meltemi);
            let _ = writeln!(text, "  {}", self.terminal.paint(Style::Bold, &command));
        }
        let _ = write!(
            text,
            "\nSave a file in {} to change the mesh, press Ctrl-C to end it.",
            self.directories
        );
        self.out(&text);
    }

    fn line(&self, name: &str, text: &str) {
        self.out(&format!("  {name:<52} {text}"));
    }

    fn out(&self, line: &str) {
        // ignored: without standard output there is nobody to tell
        let _ = self.terminal.print(&format!("{line}\n"));
    }
}

fn url(port: &Published) -> String {
    let scheme = if port.tls { "https" } else { "http" };
    format!("{scheme}://{}", port.address)
}

/// How people call this program: by its path below the current directory, if it is there.
fn called(executable: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| executable.strip_prefix(here).ok().map(Path::to_owned));
    match below {
        Some(path) => path.display().to_string(),
        None if executable.starts_with("/usr") => "meltemi".to_owned(),
        None => executable.display().to_string(),
    }
}
