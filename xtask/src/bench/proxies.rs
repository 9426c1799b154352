//! The proxies that are compared, and the configuration of each for the same work.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Programs, Work};

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

/// Every proxy that is installed, ours first; says which are not.
pub fn installed(programs: &Programs) -> Vec<Proxy> {
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
    match meltemi_testkit::find_program("haproxy") {
        Some(program) => proxies.push(Proxy {
            name: "haproxy",
            program,
            kind: Kind::HaProxy,
        }),
        None => eprintln!("haproxy is not installed: left out"),
    }
    proxies
}

impl Proxy {
    /// Starts the proxy with one worker on the first processor and waits until it listens.
    pub fn start(
        &self,
        work: Work,
        directory: &Path,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<Running> {
        let (file, text) = match self.kind {
            Kind::Meltemi | Kind::Envoy => ("envoy.yaml", envoy_bootstrap(listen, upstream)),
            Kind::HaProxy => ("haproxy.cfg", haproxy_configuration(work, listen, upstream)),
        };
        let file = directory.join(file);
        std::fs::write(&file, text)?;
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
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let running = Running { child };
        running.wait_until_listening(listen, self.name, directory)?;
        Ok(running)
    }
}

/// A proxy process; ended when dropped.
pub struct Running {
    child: Child,
}

impl Running {
    /// Its process, for `/proc`; `taskset` becomes the program that it starts.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_listening(
        &self,
        address: SocketAddr,
        name: &str,
        directory: &Path,
    ) -> Result<()> {
        for _ in 0..200 {
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log =
            std::fs::read_to_string(directory.join(format!("{name}.log"))).unwrap_or_default();
        bail!("{name} does not listen on {address}:\n{log}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn envoy_bootstrap(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"static_resources:
  listeners:
  - name: bench
    address:
      socket_address: {{ address: {}, port_value: {} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: AUTO
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: bench
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: upstream }}
  clusters:
  - name: upstream
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{ address: {}, port_value: {} }}
"#,
        listen.ip(),
        listen.port(),
        upstream.ip(),
        upstream.port(),
    )
}

fn haproxy_configuration(work: Work, listen: SocketAddr, upstream: SocketAddr) -> String {
    let protocol = if work == Work::Http2 { " proto h2" } else { "" };
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend bench
  bind {listen}{protocol}
  default_backend upstream
backend upstream
  server one {upstream}
"
    )
}
