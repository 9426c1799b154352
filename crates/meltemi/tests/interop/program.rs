//! The two programs that a bootstrap is run in, and their administration endpoints.
//!
//! In: a JSON bootstrap. Out: a running process that is ready. Called by the interop tests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meltemi_testkit::{Client, Process};
use serde_json::Value;

/// How long a program may take to be ready; Envoy's first start on a cold machine is slow.
pub const STARTUP: Duration = Duration::from_secs(30);

/// A program that runs a bootstrap.
pub enum Program {
    /// The real Envoy, at this path.
    Envoy(PathBuf),
    /// `meltemi proxy`.
    Meltemi,
}

impl Program {
    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Envoy(_) => "envoy",
            Self::Meltemi => "meltemi",
        }
    }

    /// The command that runs the bootstrap in `file`.
    pub fn command(&self, file: &Path, workers: usize) -> Command {
        let mut command = match self {
            Self::Envoy(path) => {
                let mut command = Command::new(path);
                command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
                command
            }
            Self::Meltemi => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_meltemi"));
                command.arg("proxy");
                command
            }
        };
        command.arg("-c").arg(file);
        command.args(["--concurrency", &workers.to_string(), "-l", "warning"]);
        command
    }

    /// Runs a bootstrap that is written to `directory`, and waits until it is ready.
    pub fn start(
        &self,
        directory: &Path,
        name: &str,
        document: &Value,
        admin: SocketAddr,
    ) -> Process {
        let file = directory.join(format!("{name}-{}.json", self.name()));
        let text = serde_json::to_string_pretty(document).unwrap();
        std::fs::write(&file, text).unwrap();
        let mut process = Process::start(&mut self.command(&file, 1)).unwrap();
        process.wait_for_http(STARTUP, admin, "/ready").unwrap();
        process
    }
}

/// What an administration endpoint answers, as text.
pub async fn ask(admin: SocketAddr, path: &str) -> String {
    let response = Client::new(admin).get(path).await;
    let response = response.unwrap_or_else(|error| panic!("{admin}{path}: {error}"));
    assert_eq!(response.status, 200, "{admin}{path}: {}", response.text());
    response.text()
}
