//! What the command line takes: the names of the commands, and the flags that all of them have.
//!
//! In: arguments as typed. Out: [`Arguments`]. Each command's own flags are in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::{
    agent, analyze, authz, ca, child, completion, discovery, manifest, proxy, proxy_config,
    proxy_status, up, validate, version,
};

/// A service mesh in one program.
#[derive(Debug, Parser)]
#[command(
    name = "meltemi",
    version,
    about = "A service mesh in one program: Istio's resources in, Envoy's xDS out, and a proxy that speaks it.",
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// What was typed; ends the program where it is wrong, or asks for help.
    pub fn read() -> Self {
        if std::env::args_os().nth(1).is_some_and(|it| it == "proxy") {
            let ProxyAlone { global, command } = ProxyAlone::parse();
            let ProxyCommand::Proxy(command) = command;
            return Self {
                global,
                command: Command::Proxy(command),
            };
        }
        Self::parse()
    }
}

/// `meltemi proxy`. Of a proxy there are many, and each holds the pages that it has ever touched: it
/// does not make the definitions of all the other commands to find its own.
#[derive(Debug, Parser)]
#[command(name = "meltemi", version, propagate_version = false)]
struct ProxyAlone {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: ProxyCommand,
}

#[derive(Debug, Subcommand)]
enum ProxyCommand {
    Proxy(proxy::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  # A whole mesh on this machine, from a directory of manifests
  meltemi up examples/coolstore

  # How far each proxy of it has come, and what one of them was told
  meltemi proxy-status
  meltemi proxy-config route webapp

  # A proxy on its own, from a bootstrap as Envoy reads it
  meltemi proxy -c bootstrap.yaml

  # Is this valid?
  meltemi validate -f examples/coolstore

  # Does it fit together?
  meltemi analyze -R examples/coolstore

Exit codes: 0 success, 1 error, 2 wrong usage.";

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The control plane's debug address, HOST:PORT [env: MELTEMI_DISCOVERY] [default: that of the
    /// mesh that `up` runs, else 127.0.0.1:15014]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        help_heading = "Global options"
    )]
    pub discovery_address: Option<String>,

    /// The directory of the mesh that `up` runs [env: MELTEMI_STATE_DIR] [default:
    /// $XDG_RUNTIME_DIR/meltemi, else /tmp/meltemi-UID]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub state_dir: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Arguments),
    Discovery(Box<discovery::Arguments>),
    Agent(agent::Arguments),
    Proxy(proxy::Arguments),
    /// The sample workload: echoes, calls upstreams, injects latency and errors
    ///
    /// It is told by its environment what to be, with the variables of the fake-service image
    /// (LISTEN_ADDR, NAME, MESSAGE, UPSTREAM_URIS, ERROR_RATE, TIMING_50_PERCENTILE, ...).
    #[command(after_help = "\
Examples:
  LISTEN_ADDR=127.0.0.1:9090 NAME=web meltemi app
  curl http://127.0.0.1:9090/")]
    App,
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::Arguments),
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::Arguments),
    Analyze(analyze::Arguments),
    Authz(authz::Arguments),
    Ca(ca::Arguments),
    Validate(validate::Arguments),
    Manifest(manifest::Arguments),
    Version(version::Arguments),
    Completion(completion::Arguments),
    #[command(hide = true)]
    Child(child::Arguments),
}
