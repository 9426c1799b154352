//! `meltemi proxy-config cluster`.

use anyhow::Result;
use meltemi_xds::pb::envoy::config::cluster::v3::{Cluster, cluster};

use super::describe::{ClusterKey, management};
use super::{Output, Subject, reference, render, understood};
use crate::config_dump::ConfigDump;
use crate::document::Format;
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's clusters
///
/// A route that leads to a cluster which does not exist is told on standard error, with what is
/// missing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config cluster webapp
  meltemi proxy-config cluster webapp --fqdn catalog.istioinaction.svc.cluster.local
  meltemi pc c webapp --direction inbound -o json")]
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
    /// Only clusters of hosts that contain this
    #[arg(long, value_name = "HOST")]
    pub(super) fqdn: Option<String>,
    /// Only clusters of this service port
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u32>,
    /// Only clusters of subsets that contain this
    #[arg(long, value_name = "SUBSET")]
    pub(super) subset: Option<String>,
    /// inbound or outbound
    #[arg(long, value_name = "DIRECTION")]
    pub(super) direction: Option<String>,
}

impl Filter {
    fn accepts(&self, name: &str) -> bool {
        let Self {
            fqdn,
            port,
            subset,
            direction,
        } = self;
        let contains = |part: &Option<String>, whole: &str| {
            part.as_ref()
                .is_none_or(|part| whole.contains(part.as_str()))
        };
        let Some(key) = ClusterKey::parse(name) else {
            return port.is_none()
                && subset.is_none()
                && direction.is_none()
                && contains(fqdn, name);
        };
        contains(fqdn, key.host)
            && contains(subset, key.subset)
            && contains(direction, key.direction)
            && port.is_none_or(|port| port == key.port)
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
        filter,
    } = arguments;
    let dump = subject.dump(locator)?;
    let clusters = sorted(&dump, &filter, terminal);
    let text = match output {
        Format::Short => table(&clusters).to_string(),
        Format::Json | Format::Yaml => render(&clusters, output)?,
    };
    terminal.print(&text)?;
    reference::warn(&dump, terminal, |cluster| filter.accepts(cluster));
    Ok(())
}

/// The table of clusters.
pub(super) fn summary(dump: &ConfigDump, filter: &Filter, terminal: &Terminal) -> Table {
    table(&sorted(dump, filter, terminal))
}

fn sorted(dump: &ConfigDump, filter: &Filter, terminal: &Terminal) -> Vec<Cluster> {
    let mut clusters = understood(dump.clusters(), terminal);
    clusters.retain(|it| filter.accepts(&it.name));
    clusters.sort_by(|a, b| ClusterKey::sort_key(&a.name).cmp(&ClusterKey::sort_key(&b.name)));
    clusters
}

fn table(clusters: &[Cluster]) -> Table {
    let headings = [
        "SERVICE FQDN",
        "PORT",
        "SUBSET",
        "DIRECTION",
        "TYPE",
        "DESTINATION RULE",
    ];
    let mut table = Table::new(headings, 5);
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    for cluster in clusters {
        let rule = management(cluster.metadata.as_ref());
        let kind = discovery_type(cluster);
        table.row(match ClusterKey::parse(&cluster.name) {
            Some(key) => [
                key.host.to_owned(),
                key.port.to_string(),
                or_dash(key.subset),
                key.direction.to_owned(),
                kind,
                rule,
            ],
            None => {
                let dash = || "-".to_owned();
                [cluster.name.clone(), dash(), dash(), dash(), kind, rule]
            }
        });
    }
    table
}

fn discovery_type(cluster: &Cluster) -> String {
    match &cluster.cluster_discovery_type {
        Some(cluster::ClusterDiscoveryType::Type(kind)) => {
            let kind = cluster::DiscoveryType::try_from(*kind);
            kind.map_or_else(|error| error.to_string(), |it| it.as_str_name().to_owned())
        }
        Some(cluster::ClusterDiscoveryType::ClusterType(custom)) => custom.name.clone(),
        None => "STATIC".to_owned(),
    }
}
