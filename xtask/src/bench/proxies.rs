//! The proxies that are compared: which are installed, and how each is started.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use super::configuration::{self, Setting};
use super::measure::end;
use super::{Programs, Work};

/// How long a proxy may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy that is installed.
pub struct Proxy {
    /// What the report calls it.
    pub name: &'static str,
    program: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Meltemi,
    Envoy,
    HaProxy,
}

/// Every proxy that is installed, can do the work and is wanted, ours first; says which are
/// not installed.
pub fn installed(programs: &Programs, work: Work, only: Option<&str>) -> Vec<Proxy> {
    let mut proxies = vec![Proxy {
        name: "meltemi",
        program: programs.meltemi.clone(),
        kind: Kind::Meltemi,
    }];
    match meltemi_testkit::envoy_binary() {
        Some(program) => proxies.push(Proxy {
            name: "envoy",
            program,
            kind: Kind::Envoy,
        }),
        None => eprintln!("envoy is not installed (set ENVOY_BIN): left out"),
    }
    if matches!(work, Work::Http1 | Work::Http2 | Work::Http2Http1) {
        match meltemi_testkit::find_program("haproxy") {
            Some(program) => proxies.push(Proxy {
                name: "haproxy",
                program,
                kind: Kind::HaProxy,
            }),
            None => eprintln!("haproxy is not installed: left out"),
        }
    }
    proxies.retain(|proxy| only.is_none_or(|only| only == proxy.name));
    proxies
}

impl Proxy {
    /// Reads the program's file whole. The kernel maps the pages around one that is used as far as it has them:
    /// with all of them in its cache, a proxy's memory is the same at each start, and the most that it can be.
    pub fn bring_into_cache(&self) -> Result<()> {
        let mut file =
            File::open(&self.program).with_context(|| self.program.display().to_string())?;
        std::io::copy(&mut file, &mut std::io::sink())?;
        Ok(())
    }

    /// Starts the proxy with one worker on the first processor and waits until it listens.
    pub fn start(&self, setting: &Setting<'_>) -> Result<Running> {
        let directory = setting.directory;
        let (file, text) = match self.kind {
            Kind::Meltemi | Kind::Envoy => ("envoy.yaml", configuration::bootstrap(setting)),
            Kind::HaProxy => (
                "haproxy.cfg",
                configuration::haproxy(setting).context("HAProxy is not measured with this")?,
            ),
        };
        let file = directory.join(file);
        std::fs::write(&file, text)?;
        // Each proxy writes its own, into the same place.
        // ignored: the first proxy finds none
        let _ = std::fs::remove_file(directory.join("access.log"));
        let log = File::create(directory.join(format!("{}.log", self.name)))?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(&self.program);
        match self.kind {
            Kind::Meltemi => command
                .args(["proxy", "--concurrency", "1", "-l", "warning", "-c"])
                .arg(&file),
            Kind::Envoy => command
                .args([
                    "--concurrency",
                    "1",
                    "-l",
                    "error",
                    "--disable-hot-restart",
                    "-c",
                ])
                .arg(&file),
            Kind::HaProxy => command.args(["-db", "-f"]).arg(&file),
        };
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let mut running = Running {
            child,
            ready_after: Duration::ZERO,
        };
        running.wait_until_listening(setting.listen, self.name, directory)?;
        running.ready_after = started.elapsed();
        Ok(running)
    }
}

/// A proxy process; ended when dropped.
pub struct Running {
    child: Child,
    /// From its start until it listened.
    pub ready_after: Duration,
}

impl Running {
    /// Its process, for `/proc`; `taskset` becomes the program that it starts.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_listening(
        &mut self,
        address: SocketAddr,
        name: &str,
        directory: &Path,
    ) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.child.try_wait()?.is_none() {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let log =
            std::fs::read_to_string(directory.join(format!("{name}.log"))).unwrap_or_default();
        bail!("{name} does not listen on {address}:\n{log}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
