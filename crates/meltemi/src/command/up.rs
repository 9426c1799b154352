//! `meltemi up`: a whole mesh on this machine.

mod report;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use meltemi_local::{AccessLogging, Loopback, Options, Reporter};
use meltemi_proxy::LogLevel;

use crate::cli::Global;
use crate::env::{self, Environment};
use crate::terminal::Terminal;
use crate::{locate, logging, runtime};
use report::Printer;

/// Run a whole mesh on this machine, from directories of manifests
///
/// Starts a control plane, a gateway, and for each pod a sidecar and its application. A container
/// runs as its `command` if this machine has it, as meltemi.yaml says for its image, or else as
/// `meltemi app` on the container's ports. Files are watched: saving one changes the mesh. Ctrl-C
/// ends everything; a second Ctrl-C does so at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every process has addresses of its own in --loopback. Of 127.77.0.0/16, the control plane has
127.77.0.1, pods (where sidecars and gateways listen) 127.77.1.1 and up, services 127.77.64.1 and up,
and the application of the pod 127.77.1.2 has 127.77.129.2.

Examples:
  meltemi up examples/coolstore

  # A second mesh beside it
  meltemi up examples/coolstore --loopback 127.78.0.0/16 --gateway-port 18080 --state-dir /tmp/second
  meltemi proxy-status --state-dir /tmp/second")]
pub(crate) struct Arguments {
    /// Directories (or files) of manifests, as one would give them to kubectl apply
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// The port that a gateway's port 80 is published on; 443 and others move along
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    gateway_port: u16,
    /// The address that gateways are published on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    publish: IpAddr,
    /// The mesh's addresses
    #[arg(long, value_name = "127.N.0.0/16", default_value_t = Loopback::default())]
    loopback: Loopback,
    /// Whether proxies write an access log [default: as the mesh configuration says, which is on
    /// unless it says otherwise]
    #[arg(long, value_enum, value_name = "WHETHER")]
    access_log: Option<Switch>,
    /// Print what every process writes, in the place of log files
    #[arg(short, long)]
    verbose: bool,
    /// Worker threads of each proxy of which neither the mesh configuration nor an annotation says it
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: usize,
    /// What the proxies log: trace, debug, info, warning, error, critical or off
    #[arg(short, long, value_name = "LEVEL", default_value = "warning", value_parser = logging::parse_level)]
    log_level: LogLevel,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Runs the command.
pub(crate) fn run(
    arguments: Arguments,
    global: &Global,
    environment: &Environment,
    terminal: &Terminal,
) -> Result<()> {
    let Arguments {
        directories,
        gateway_port,
        publish,
        loopback,
        access_log,
        verbose,
        concurrency,
        log_level,
    } = arguments;
    if let Some(missing) = directories.iter().find(|it| !it.exists()) {
        bail!("{}: no such file or directory", missing.display());
    }
    let (state_dir, state_dir_named) = locate::state_dir(global, environment);
    let state_dir =
        std::path::absolute(&state_dir).with_context(|| state_dir.display().to_string())?;
    let executable = std::env::current_exe().context("where this program is")?;
    let mut printer = Printer::new(*terminal, &directories, loopback, &executable, verbose);
    if let Some(directory) = global.state_dir.as_ref().filter(|_| state_dir_named) {
        printer.state_dir(directory);
    }
    // what is printed must not hold up the mesh, so that it has a thread of its own
    let (reports, told) = mpsc::channel();
    let printing = std::thread::Builder::new()
        .name("printer".to_owned())
        .spawn(move || told.into_iter().for_each(|report| printer.print(report)))
        .context("no thread")?;
    let options = Options {
        directories,
        executable,
        inherited: env::inherited(),
        loopback,
        publish,
        gateway_port,
        state_dir,
        state_dir_named,
        access_log: match access_log {
            None => AccessLogging::Configured,
            Some(Switch::On) => AccessLogging::On,
            Some(Switch::Off) => AccessLogging::Off,
        },
        verbose,
        concurrency: concurrency.max(1),
        log_level: log_level.as_str().to_owned(),
        reporter: Reporter::new(move |report| {
            // ignored: the printer ends last
            let _ = reports.send(report);
        }),
    };
    // the children die with the thread that starts them, so that must be the main one
    let runtime = runtime::single_threaded()?;
    let result = runtime::until_signal(&runtime, |drain, kill| async move {
        Ok(meltemi_local::run(options, drain, kill).await?)
    });
    drop(runtime);
    // ignored: a printer that panicked has said so
    let _ = printing.join();
    result
}
