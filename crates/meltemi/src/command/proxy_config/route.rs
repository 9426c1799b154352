//! `meltemi proxy-config route`.

use anyhow::Result;
use meltemi_xds::pb::envoy::config::route::v3::{Route, RouteConfiguration};

use super::describe::{destinations, domains, management, referred, route_match};
use super::{Output, Subject, reference, render, understood};
use crate::config_dump::ConfigDump;
use crate::document::Format;
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's routes, with where they lead and by which weights
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config route webapp
  meltemi proxy-config route istio-ingressgateway --name http.8080 -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    output: Output,
    /// Only the route table of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
        name,
    } = arguments;
    let dump = subject.dump(locator)?;
    let tables = sorted(&dump, name.as_deref(), terminal);
    let text = match output {
        Format::Short => table(&tables).to_string(),
        Format::Json | Format::Yaml => render(&tables, output)?,
    };
    terminal.print(&text)?;
    reference::warn(&dump, terminal, |_| true);
    Ok(())
}

/// The table of routes, of one route table or of all.
pub(super) fn summary(dump: &ConfigDump, name: Option<&str>, terminal: &Terminal) -> Table {
    table(&sorted(dump, name, terminal))
}

fn sorted(dump: &ConfigDump, name: Option<&str>, terminal: &Terminal) -> Vec<RouteConfiguration> {
    let mut tables = understood(dump.routes(), terminal);
    tables.retain(|it| name.is_none_or(|name| name == it.name));
    tables.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
    tables
}

/// Tables named by a port come first, in the order of their ports.
fn order(name: &str) -> (bool, u32, &str) {
    match name.parse() {
        Ok(port) => (false, port, name),
        Err(_) => (true, 0, name),
    }
}

fn table(tables: &[RouteConfiguration]) -> Table {
    let headings = [
        "NAME",
        "VHOST NAME",
        "DOMAINS",
        "MATCH",
        "VIRTUAL SERVICE",
        "DESTINATIONS",
    ];
    let mut rows = Table::new(headings, 5);
    for table in tables {
        for host in &table.virtual_hosts {
            let start = || {
                [
                    table.name.clone(),
                    host.name.clone(),
                    domains(&host.domains),
                ]
            };
            for route in host.routes.iter().filter(|it| !passes_through(it)) {
                let [name, host, domains] = start();
                rows.row([
                    name,
                    host,
                    domains,
                    route_match(route.r#match.as_ref()),
                    management(route.metadata.as_ref()),
                    destinations(route),
                ]);
            }
            if host.routes.is_empty() {
                let [name, host, domains] = start();
                rows.row([
                    name,
                    host,
                    domains,
                    "/*".into(),
                    "404".into(),
                    String::new(),
                ]);
            }
        }
    }
    rows
}

/// Routes to hosts that the mesh does not know say nothing about the mesh.
fn passes_through(route: &Route) -> bool {
    referred(route) == ["PassthroughCluster"]
}
