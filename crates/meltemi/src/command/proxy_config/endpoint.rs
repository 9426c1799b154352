//! `meltemi proxy-config endpoint`.

use anyhow::{Context as _, Result};
use meltemi_xds::json;
use meltemi_xds::pb::envoy::admin::v3::{ClusterStatus, Clusters, HostStatus};
use meltemi_xds::pb::envoy::config::core::v3::HealthStatus;
use serde_json::Value;

use super::describe::socket;
use super::{Output, Subject, render};
use crate::document::Format;
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's endpoints, with their health
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With -f, the file holds the answer of /clusters?format=json.

Examples:
  meltemi proxy-config endpoint webapp
  meltemi proxy-config endpoint webapp --cluster 'outbound|80||catalog.istioinaction.svc.cluster.local'
  meltemi pc ep webapp --status unhealthy")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only endpoints with this address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<String>,
    /// Only endpoints on this port
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u32>,
    /// Only endpoints of the cluster of this name
    #[arg(long, value_name = "CLUSTER")]
    pub(super) cluster: Option<String>,
    /// Only endpoints of this health: healthy, unhealthy, ...
    #[arg(long, value_name = "STATUS")]
    pub(super) status: Option<String>,
}

impl Filter {
    fn accepts(&self, cluster: &str, host: &HostStatus) -> bool {
        let Self {
            address,
            port,
            cluster: of,
            status,
        } = self;
        let same = |wanted: &Option<String>, is: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        let (at, on) = socket(host.address.as_ref());
        same(address, &at)
            && port.is_none_or(|port| Some(port) == on)
            && same(of, cluster)
            && same(status, health(host))
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
        filter,
    } = arguments;
    let statuses = statuses(&subject, locator, &filter)?;
    let text = match output {
        Format::Short => table(&statuses).to_string(),
        Format::Json | Format::Yaml => render(&statuses, output)?,
    };
    Ok(terminal.print(&text)?)
}

/// The table of endpoints.
pub(super) fn summary(subject: &Subject, locator: &Locator, filter: &Filter) -> Result<Table> {
    Ok(table(&statuses(subject, locator, filter)?))
}

fn statuses(subject: &Subject, locator: &Locator, filter: &Filter) -> Result<Vec<ClusterStatus>> {
    let text = subject.get(locator, "/clusters?format=json")?;
    let value: Value = serde_json::from_slice(&text).context("no JSON")?;
    let clusters: Clusters = json::from_json(value).context("the answer of /clusters")?;
    let mut statuses = clusters.cluster_statuses;
    for status in &mut statuses {
        let ClusterStatus {
            name,
            host_statuses,
            ..
        } = status;
        host_statuses.retain(|host| filter.accepts(name, host));
    }
    statuses.retain(|it| !it.host_statuses.is_empty());
    Ok(statuses)
}

fn table(clusters: &[ClusterStatus]) -> Table {
    let mut rows = Vec::new();
    for cluster in clusters {
        for host in &cluster.host_statuses {
            let (address, port) = socket(host.address.as_ref());
            let check = match &host.health_status {
                Some(health) if health.failed_outlier_check => "FAILED",
                Some(_) | None => "OK",
            };
            rows.push((address, port, cluster.name.as_str(), health(host), check));
        }
    }
    rows.sort();
    let mut table = Table::new(["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"], 5);
    for (address, port, cluster, health, check) in rows {
        let endpoint = match port {
            Some(port) => format!("{address}:{port}"),
            None => address,
        };
        table.row([
            endpoint,
            health.to_owned(),
            check.to_owned(),
            cluster.to_owned(),
        ]);
    }
    table
}

fn health(host: &HostStatus) -> &'static str {
    let health = host.health_status.as_ref();
    let status = health.map_or(0, |it| it.eds_health_status);
    HealthStatus::try_from(status).map_or("UNKNOWN", |it| it.as_str_name())
}
