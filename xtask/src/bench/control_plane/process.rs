//! The control plane's process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use super::PATIENCE;
use crate::bench::measure::{end, free_address};

/// A control plane over a directory; ended when dropped.
pub struct ControlPlane {
    child: Child,
    /// Where it serves xDS in plain text.
    pub xds: SocketAddr,
    /// From its start until it served.
    pub ready_after: Duration,
    _place: TempDir,
}

impl ControlPlane {
    /// Starts it and waits until it serves.
    pub fn start(program: &Path, config: &Path) -> Result<Self> {
        let place = TempDir::new()?;
        let [xds, secure, http, monitoring] = [
            free_address()?,
            free_address()?,
            free_address()?,
            free_address()?,
        ];
        let log = place.path().join("log");
        let file = File::create(&log)?;
        let start = Instant::now();
        let child = Command::new(program)
            .args(["discovery", "-l", "warning", "--config-dir"])
            .arg(config)
            .arg("--ca-dir")
            .arg(place.path().join("ca"))
            .args(["--grpc-addr", &xds.to_string()])
            .args(["--secure-grpc-addr", &secure.to_string()])
            .args(["--http-addr", &http.to_string()])
            .args(["--monitoring-addr", &monitoring.to_string()])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut running = Self {
            child,
            xds,
            ready_after: Duration::ZERO,
            _place: place,
        };
        while !is_ready(http) {
            if start.elapsed() > PATIENCE || running.child.try_wait()?.is_some() {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the control plane does not become ready:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running.ready_after = start.elapsed();
        Ok(running)
    }

    /// Its process, for `/proc`.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
