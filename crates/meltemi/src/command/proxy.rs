//! `meltemi proxy`: the bare proxy, from a bootstrap as Envoy reads it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use meltemi_config::{bootstrap_node, encode_bootstrap};
use meltemi_proxy::{Bootstrap, DrainPlan, HotRestart, LogLevel, Options};
use meltemi_tls::SecretStore;
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap as Message;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use prost::Message as _;

use crate::terminal::Terminal;
use crate::{logging, runtime};

/// Run the proxy on its own, from an Envoy v3 bootstrap
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy -c bootstrap.yaml
  meltemi proxy -c bootstrap.yaml --concurrency 1 -l debug
  meltemi proxy -c bootstrap.yaml --config-yaml 'admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}'

  # Take the place of a running proxy without refusing a connection
  meltemi proxy -c bootstrap.yaml --base-id 7 --restart-epoch 0
  meltemi proxy -c bootstrap.yaml --base-id 7 --restart-epoch 1

  # Is the bootstrap valid?
  meltemi proxy --mode validate -c bootstrap.yaml")]
pub(crate) struct Arguments {
    /// The bootstrap, YAML or JSON
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "config_yaml"
    )]
    config_path: Option<PathBuf>,
    /// A bootstrap in the argument itself; goes over that of the file, field by field
    #[arg(long, value_name = "YAML")]
    config_yaml: Option<String>,
    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// trace, debug, info, warning, error, critical or off
    #[arg(short, long, value_name = "LEVEL", default_value = "info", value_parser = logging::parse_level)]
    log_level: LogLevel,
    /// Levels of single loggers, such as upstream:debug,http:trace
    #[arg(long, value_name = "LEVELS")]
    component_log_level: Option<String>,
    /// Serve, or only check the bootstrap
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    mode: Mode,
    /// How many seconds connections have to end at shutdown
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_time_s: u64,
    /// `node.id`, where the bootstrap has none
    #[arg(long, value_name = "ID")]
    service_node: Option<String>,
    /// `node.cluster`, where the bootstrap has none
    #[arg(long, value_name = "NAME")]
    service_cluster: Option<String>,
    /// How connections are drained: one after the other over the drain time, or all at once, as
    /// they always are at shutdown
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t = DrainStrategy::Gradual)]
    drain_strategy: DrainStrategy,
    /// The how-manieth process in a row this is: from 1, it takes the place of the one before
    #[arg(long, value_name = "N")]
    restart_epoch: Option<u32>,
    /// Tells rows of processes on one machine apart [default: 0]
    #[arg(long, value_name = "N")]
    base_id: Option<u32>,
    /// What the sockets by which processes find each other are called; @ is for no file
    #[arg(long, value_name = "PATH", default_value = "@meltemi_domain_socket")]
    socket_path: String,
    /// After how many seconds the process before has to end
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    parent_shutdown_time_s: u64,
    /// Start though there is no process whose place to take
    #[arg(long)]
    skip_hot_restart_on_no_parent: bool,
    /// Neither take another process's place nor be replaced
    #[arg(long)]
    disable_hot_restart: bool,
}

/// How connections are drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DrainStrategy {
    Gradual,
    Immediate,
}

/// What to do with the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Serve,
    Validate,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<()> {
    let bootstrap = bootstrap(&arguments)?;
    let Arguments {
        config_path,
        // ignored: the bootstrap was read with it
        config_yaml: _,
        concurrency,
        log_level,
        component_log_level,
        mode,
        drain_time_s,
        // ignored: the bootstrap was completed with both
        service_node: _,
        service_cluster: _,
        drain_strategy,
        restart_epoch,
        base_id,
        socket_path,
        parent_shutdown_time_s,
        skip_hot_restart_on_no_parent,
        disable_hot_restart,
    } = arguments;
    // Only where it is asked for, so that proxies that know nothing of each other may share a
    // machine.
    let is_asked_for = restart_epoch.is_some() || base_id.is_some();
    let hot_restart = (is_asked_for && !disable_hot_restart).then(|| HotRestart {
        epoch: restart_epoch.unwrap_or(0),
        base_id: base_id.unwrap_or(0),
        socket_path,
        parent_shutdown_time: Duration::from_secs(parent_shutdown_time_s),
        skip_on_no_parent: skip_hot_restart_on_no_parent,
    });
    let config_path = config_path
        .map(|it| it.display().to_string())
        .unwrap_or_default();
    if mode == Mode::Validate {
        return Ok(terminal.print(&format!("configuration '{config_path}' OK\n"))?);
    }
    let logs = logging::to_stderr(log_level)?;
    if let Some(levels) = component_log_level {
        let levels = component_levels(&levels)?;
        let levels: Vec<_> = levels
            .iter()
            .map(|(name, level)| (name.as_str(), *level))
            .collect();
        let unknown = |name: &str| anyhow::anyhow!("--component-log-level: no logger {name:?}");
        logs.set(&levels).map_err(unknown)?;
    }
    let options = Options {
        concurrency: concurrency.unwrap_or_else(cores).max(1),
        drain: DrainPlan {
            time: Duration::from_secs(drain_time_s),
            gradual: drain_strategy == DrainStrategy::Gradual,
        },
        secrets: SecretStore::new(),
        ads_metadata: None,
        logs,
        delivered_clusters: Vec::new(),
        config_path,
        hot_restart,
    };
    let runtime = runtime::multi_threaded(1)?;
    runtime::until_signal(&runtime, |drain, mut kill| async move {
        tokio::select! {
            result = meltemi_proxy::run(bootstrap, options, drain) => result,
            () = kill.draining() => Ok(()),
        }
    })
}

/// As many workers as the machine has cores for this process.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The bootstrap. It is read on a thread of its own, so that the allocator gives back whole what
/// that took: nothing that stays lies among it, and what a thread holds back for its next need
/// goes with the thread.
fn bootstrap(arguments: &Arguments) -> Result<Bootstrap> {
    let encoded = std::thread::scope(|scope| scope.spawn(|| encoded(arguments)).join());
    let encoded = encoded.map_err(|_| anyhow::anyhow!("reading the bootstrap failed"))??;
    Bootstrap::from_encoded(encoded)
}

/// Envoy's message, encoded: one encoding behind another is both messages, field by field.
fn encoded(arguments: &Arguments) -> Result<Vec<u8>> {
    let Arguments {
        config_path,
        config_yaml,
        service_node,
        service_cluster,
        ..
    } = arguments;
    let mut encoded = Vec::new();
    if let Some(path) = config_path {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        encoded = encode_bootstrap(&text, &path.display().to_string())?;
    }
    if let Some(text) = config_yaml {
        encoded.extend(encode_bootstrap(text, "--config-yaml")?);
    }
    let mut node = bootstrap_node(&encoded)?;
    for (field, value) in [
        (&mut node.id, service_node),
        (&mut node.cluster, service_cluster),
    ] {
        match value {
            Some(value) if field.is_empty() => field.clone_from(value),
            _ => field.clear(),
        }
    }
    let over = Message {
        node: Some(Node {
            id: node.id,
            cluster: node.cluster,
            ..Node::default()
        }),
        ..Message::default()
    };
    over.encode(&mut encoded)?;
    encoded.shrink_to_fit();
    Ok(encoded)
}

fn component_levels(text: &str) -> Result<Vec<(String, LogLevel)>> {
    let mut levels = Vec::new();
    for entry in text.split(',') {
        let Some((name, level)) = entry.split_once(':') else {
            bail!("--component-log-level: no level in {entry:?}");
        };
        let level = logging::parse_level(level).map_err(anyhow::Error::msg)?;
        levels.push((name.to_owned(), level));
    }
    Ok(levels)
}
