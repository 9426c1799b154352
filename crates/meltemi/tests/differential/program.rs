//! The two programs that a bootstrap is run in.
//!
//! In: a JSON bootstrap. Out: a running process that is ready. Called by `run`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use meltemi_testkit::Process;
use serde_json::Value;

use crate::admin::STARTUP;

/// A program that runs a bootstrap.
#[derive(Clone)]
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

    /// Runs a bootstrap that is written to `directory` with arguments besides, and waits until it
    /// is ready.
    pub fn start(
        &self,
        directory: &Path,
        name: &str,
        (document, arguments): (&Value, &[String]),
        admin: SocketAddr,
    ) -> Process {
        let file = directory.join(format!("{name}-{}.json", self.name()));
        let text = serde_json::to_string_pretty(document).unwrap();
        std::fs::write(&file, text).unwrap();
        let mut process = Process::start(self.command(&file, 1).args(arguments)).unwrap();
        process.wait_for_http(STARTUP, admin, "/ready").unwrap();
        process
    }
}
