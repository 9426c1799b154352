//! A mesh under test: the real `meltemi up` on a copy of the cool store.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use meltemi_testkit::{Client, Process, Request, Response, free_port};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that must happen in the end; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is promised for an edit, and room for a machine that does other things beside.
const PROMPTLY: Duration = Duration::from_secs(3);

/// A running mesh; everything ends with it.
pub struct Mesh {
    /// `meltemi up`.
    pub process: Process,
    /// The manifests, in `store`, and the state, in `state`.
    pub directory: TempDir,
    /// The published gateway.
    pub gateway: SocketAddr,
    number: u32,
    runtime: tokio::runtime::Runtime,
}

/// What a tool answered.
#[derive(Debug)]
pub struct Tool {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program under test.
pub fn meltemi() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    command
        .env_remove("MELTEMI_STATE_DIR")
        .env_remove("MELTEMI_DISCOVERY");
    command
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.trim_start().starts_with('Z'));
    state == Some(false)
}

impl Mesh {
    /// The example that is run.
    pub fn example() -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap();
        root.join("examples/coolstore")
    }

    /// Starts a mesh and waits until it is ready. Each `number` has addresses of its own, different
    /// ones in tests that run at the same time.
    pub fn start(number: u32) -> Self {
        Self::start_with(number, &[])
    }

    /// The same with these files beside those of the example.
    pub fn start_with(number: u32, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        std::fs::create_dir(&store).unwrap();
        for file in std::fs::read_dir(Self::example()).unwrap().flatten() {
            std::fs::copy(file.path(), store.join(file.file_name())).unwrap();
        }
        for (name, text) in files {
            std::fs::write(store.join(name), text).unwrap();
        }
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut command = up(&store, &directory.path().join("state"), gateway.port());
        let process = Process::start(command.arg("--loopback").arg(loopback(number))).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let mut mesh = Self {
            process,
            directory,
            gateway,
            number,
            runtime: runtime.unwrap(),
        };
        mesh.process
            .wait_for_line(PATIENCE * 3, |line| line == "ready")
            .unwrap();
        mesh
    }

    /// The command that would run this mesh again, with its state elsewhere.
    pub fn command(&self, state_dir: &Path) -> Command {
        up(&self.directory.path().join("store"), state_dir, free_port())
    }

    /// Its addresses.
    pub fn loopback(&self) -> String {
        loopback(self.number)
    }

    /// Where its keys and logs are.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Sends a request to the gateway.
    pub fn send(&self, request: &Request) -> Response {
        let client = Client::new(self.gateway);
        self.runtime.block_on(client.send(request)).unwrap()
    }

    /// The same, where it may fail.
    pub fn try_send(&self, request: &Request) -> Option<Response> {
        let client = Client::new(self.gateway).timeout(Duration::from_secs(2));
        self.runtime.block_on(client.send(request)).ok()
    }

    /// Runs a tool on this mesh, which must succeed.
    pub fn tool(&self, arguments: &[&str]) -> Tool {
        let answer = self.try_tool(arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        answer
    }

    /// The same, where it may fail.
    pub fn try_tool(&self, arguments: &[&str]) -> Tool {
        Tool::run(
            meltemi()
                .args(arguments)
                .arg("--state-dir")
                .arg(self.state_dir()),
        )
    }

    /// Changes a manifest as an editor does: as a whole.
    pub fn edit(&self, file: &str, change: impl Fn(&str) -> String) {
        let path = self.directory.path().join("store").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let changed = change(&text);
        assert_ne!(text, changed, "the edit of {file} changes nothing");
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, changed).unwrap();
        std::fs::rename(&draft, &path).unwrap();
    }

    /// Puts a manifest back as it is in the example, in place.
    pub fn restore(&self, file: &str) {
        let text = std::fs::read_to_string(Self::example().join(file)).unwrap();
        std::fs::write(self.directory.path().join("store").join(file), text).unwrap();
    }

    /// Waits for what an edit does.
    pub fn within_a_second_or_two<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        within(PROMPTLY, what, look)
    }

    /// The access log of a workload's proxy.
    pub fn access_log(&self, workload: &str) -> Vec<String> {
        let pod = self.pod(workload);
        let path = self
            .state_dir()
            .join("logs")
            .join(pod["name"].as_str().unwrap());
        let text = std::fs::read_to_string(path.join("proxy.log")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with('['));
        lines.map(str::to_owned).collect()
    }

    /// The Prometheus metrics of a workload's proxy.
    pub fn metrics(&self, workload: &str) -> String {
        self.admin(workload, "/stats/prometheus")
    }

    /// What the administration of a workload's proxy answers.
    pub fn admin(&self, workload: &str, path: &str) -> String {
        let admin = self.pod(workload)["admin"].as_str().unwrap().parse();
        let client = Client::new(admin.unwrap());
        self.runtime.block_on(client.get(path)).unwrap().text()
    }

    /// What the control plane's debug endpoint answers.
    pub fn debug(&self, path: &str) -> String {
        let text = std::fs::read_to_string(self.state_dir().join("up.json")).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let client = Client::new(state["debug"].as_str().unwrap().parse().unwrap());
        self.runtime.block_on(client.get(path)).unwrap().text()
    }

    /// How many printed lines begin so.
    pub fn count_lines(&self, start: &str) -> usize {
        let output = self.process.output();
        output
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// The processes that `up` started.
    pub fn children(&self) -> Vec<u32> {
        let up = self.process.id();
        let path = format!("/proc/{up}/task/{up}/children");
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    /// The process whose command line contains `words`.
    pub fn process_of(&self, words: &str) -> u32 {
        let is_it = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line)
                .replace('\0', " ")
                .contains(words)
        };
        let found = self.children().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no process {words}"))
    }

    fn pod(&self, workload: &str) -> Value {
        let text = std::fs::read_to_string(self.state_dir().join("up.json")).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let pods = state["pods"].as_array().unwrap();
        let pod = pods.iter().find(|pod| pod["workload"] == workload);
        pod.unwrap_or_else(|| panic!("no pod of {workload}: {text}"))
            .clone()
    }
}

impl Tool {
    /// Runs a command to its end.
    pub fn run(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

fn up(store: &Path, state: &Path, port: u16) -> Command {
    let mut command = meltemi();
    command.arg("up").arg(store).arg("--state-dir").arg(state);
    command.arg("--gateway-port").arg(port.to_string());
    command
}

fn loopback(number: u32) -> String {
    let apart = std::process::id() % 10 * 12;
    format!("127.{}.0.0/16", 100 + apart + number)
}

#[allow(clippy::disallowed_methods, reason = "real processes take real time")]
fn now() -> Instant {
    Instant::now()
}
