//! `meltemi proxy-config all`.

use anyhow::Result;

use super::{Output, Subject, bootstrap, cluster, endpoint, listener, route, secret};
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::terminal::Terminal;

/// Show all of a proxy's configuration: its version, clusters, listeners, routes, secrets, endpoints
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With -f, the file holds the answer of /config_dump, which has no endpoints.

Examples:
  meltemi proxy-config all webapp
  meltemi pc all webapp --fqdn catalog.istioinaction.svc.cluster.local --port 80
  meltemi pc all webapp -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    filter: Filter,
}

/// What is shown of each kind; what is written as JSON or YAML is all.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only clusters of hosts that contain this
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,
    /// Only clusters of subsets that contain this
    #[arg(long, value_name = "SUBSET")]
    subset: Option<String>,
    /// Only clusters in this direction: inbound or outbound
    #[arg(long, value_name = "DIRECTION")]
    direction: Option<String>,
    /// Only listeners and endpoints with this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Only clusters, listeners and endpoints of this port
    #[arg(long, value_name = "PORT")]
    port: Option<u32>,
    /// Only listeners of this type: HTTP, TCP, HTTP+TCP or UNKNOWN
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only the route table of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
        filter,
    } = arguments;
    let dump = subject.dump(locator)?;
    if !matches!(output, Format::Short) {
        return Ok(terminal.print(&document::render(&dump.to_json(), output)?)?);
    }
    let Filter {
        fqdn,
        subset,
        direction,
        address,
        port,
        kind,
        name,
    } = filter;
    let clusters = cluster::Filter {
        fqdn,
        port,
        subset,
        direction,
    };
    let listeners = listener::Filter {
        address: address.clone(),
        port,
        kind,
    };
    let endpoints = endpoint::Filter {
        address,
        port,
        ..endpoint::Filter::default()
    };
    let mut parts = Vec::new();
    parts.extend(dump.bootstrap().map(bootstrap::summary));
    parts.push(cluster::summary(&dump, &clusters, terminal).to_string());
    parts.push(listener::summary(&dump, &listeners, terminal).to_string());
    parts.push(route::summary(&dump, name.as_deref(), terminal).to_string());
    parts.push(secret::summary(&dump, terminal));
    if subject.pod.is_some() {
        parts.push(endpoint::summary(&subject, locator, &endpoints)?.to_string());
    }
    Ok(terminal.print(&parts.join("\n"))?)
}
