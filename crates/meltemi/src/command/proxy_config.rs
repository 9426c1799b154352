//! `meltemi proxy-config`: what a proxy has been told.

mod all;
mod bootstrap;
mod cluster;
mod describe;
mod ecds;
mod endpoint;
mod listener;
mod log;
mod reference;
mod route;
mod secret;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use meltemi_local::http;
use meltemi_xds::json::{JsonNames, JsonStyle, to_json_with};
use prost::{Message, Name};
use serde_json::Value;

use crate::config_dump::{ConfigDump, Found};
use crate::document::{self, Format};
use crate::locate::{ADMIN_PORT, Locator, Proxy};
use crate::runtime;
use crate::terminal::Terminal;

/// Show what a proxy has been told: listeners, routes, clusters, endpoints, secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "\
POD is a pod's name, a Deployment's name, or the beginning of a pod's name; .NAMESPACE is needed only
where the rest is ambiguous.

Examples:
  meltemi proxy-config route webapp
  meltemi proxy-config cluster webapp --fqdn catalog.istioinaction.svc.cluster.local
  meltemi pc endpoint deployment/webapp.istioinaction --status unhealthy
  meltemi pc log webapp --level http:debug
  curl localhost:15000/config_dump | meltemi pc listener -f - -o yaml")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

/// What is shown.
#[derive(Debug, Subcommand)]
enum Kind {
    #[command(visible_aliases = ["listeners", "l"])]
    Listener(listener::Arguments),
    #[command(visible_aliases = ["routes", "r"])]
    Route(route::Arguments),
    #[command(visible_aliases = ["clusters", "c"])]
    Cluster(cluster::Arguments),
    #[command(visible_aliases = ["endpoints", "ep"])]
    Endpoint(endpoint::Arguments),
    #[command(visible_aliases = ["secrets", "s"])]
    Secret(secret::Arguments),
    #[command(visible_alias = "ec")]
    Ecds(ecds::Arguments),
    #[command(visible_alias = "a")]
    All(all::Arguments),
    #[command(visible_alias = "b")]
    Bootstrap(bootstrap::Arguments),
    #[command(visible_alias = "o")]
    Log(log::Arguments),
}

/// Which proxy.
#[derive(Debug, clap::Args)]
struct Subject {
    /// The proxy: a pod, a Deployment, or the beginning of a pod's name
    #[arg(value_name = "POD[.NAMESPACE]", required_unless_present = "file")]
    pod: Option<String>,
    /// A file with a proxy's answer, in the place of a running proxy; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "pod")]
    file: Option<PathBuf>,
    /// The proxy's administration port
    #[arg(long, value_name = "PORT", default_value_t = ADMIN_PORT)]
    proxy_admin_port: u16,
}

/// How it is printed.
#[derive(Debug, clap::Args)]
struct Output {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Short)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    match arguments.kind {
        Kind::Listener(it) => listener::run(it, locator, terminal),
        Kind::Route(it) => route::run(it, locator, terminal),
        Kind::Cluster(it) => cluster::run(it, locator, terminal),
        Kind::Endpoint(it) => endpoint::run(it, locator, terminal),
        Kind::Secret(it) => secret::run(it, locator, terminal),
        Kind::Ecds(it) => ecds::run(it, locator, terminal),
        Kind::All(it) => all::run(it, locator, terminal),
        Kind::Bootstrap(it) => bootstrap::run(it, locator, terminal),
        Kind::Log(it) => log::run(it, locator, terminal),
    }
}

impl Subject {
    /// What the proxy answers at `path`, or what the file holds.
    fn get(&self, locator: &Locator, path: &str) -> Result<Vec<u8>> {
        let Some(pod) = &self.pod else {
            return self.read();
        };
        let answer = runtime::single_threaded()?.block_on(async {
            let proxy = locator.proxy(pod, self.proxy_admin_port).await?;
            let address = proxy.admin.to_string();
            let answer = http::get(&address, path).await;
            answer.with_context(|| unreachable(&proxy))
        })?;
        if !answer.status.is_success() {
            bail!("{pod}: {path}: {}", answer.status);
        }
        Ok(answer.body.to_vec())
    }

    fn dump(&self, locator: &Locator) -> Result<ConfigDump> {
        let text = self.get(locator, "/config_dump")?;
        let from = match (&self.pod, &self.file) {
            (Some(pod), _) => pod.clone(),
            (None, file) => file
                .as_ref()
                .map(|it| it.display().to_string())
                .unwrap_or_default(),
        };
        ConfigDump::parse(&text).context(from)
    }

    fn read(&self) -> Result<Vec<u8>> {
        match &self.file {
            Some(path) if path.as_os_str() != "-" => {
                std::fs::read(path).with_context(|| path.display().to_string())
            }
            Some(_) | None => {
                let mut text = Vec::new();
                std::io::Read::read_to_end(&mut std::io::stdin(), &mut text)?;
                Ok(text)
            }
        }
    }
}

fn unreachable(proxy: &Proxy) -> String {
    format!(
        "{}.{}: its administration does not answer",
        proxy.pod, proxy.namespace
    )
}

/// The messages; tells of what was left out.
fn understood<M>(found: Found<M>, terminal: &Terminal) -> Vec<M> {
    for problem in found.problems {
        terminal.warning(&format!("left out: {problem}"));
    }
    found.messages
}

/// Messages as istioctl prints them: a list, names in camel case.
fn render<M: Message + Name>(messages: &[M], format: Format) -> Result<String> {
    let list: Value = messages.iter().map(in_camel_case).collect();
    document::render(&list, format)
}

/// A message as istioctl prints it, names in camel case.
fn in_camel_case<M: Message + Name>(message: &M) -> Value {
    let style = JsonStyle {
        names: JsonNames::Json,
        ..JsonStyle::default()
    };
    to_json_with(message, style)
}
