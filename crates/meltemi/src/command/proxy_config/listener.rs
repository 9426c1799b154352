//! `meltemi proxy-config listener`.

use anyhow::Result;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::listener::v3::filter::ConfigType;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter as NetworkFilter, FilterChain, Listener};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use prost_types::Any;

use super::describe::{destinations, domains, referred, route_match, socket};
use super::{Output, Subject, render, understood};
use crate::config_dump::ConfigDump;
use crate::document::Format;
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's listeners
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config listener webapp
  meltemi proxy-config listener webapp --port 15080 -o json
  meltemi pc l webapp --type HTTP")]
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
    /// Only listeners on this address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<String>,
    /// Only listeners on this port
    #[arg(long, value_name = "PORT")]
    pub(super) port: Option<u32>,
    /// HTTP, TCP, HTTP+TCP or UNKNOWN
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
}

const BLACK_HOLE: &str = "BlackHoleCluster";

/// Names for sets of application protocols that Istio's listeners have.
const PROTOCOLS: [(&str, &[&str]); 4] = [
    (
        "App: HTTP TLS",
        &[
            "http/1.0",
            "http/1.1",
            "h2c",
            "istio-http/1.0",
            "istio-http/1.1",
            "istio-h2",
        ],
    ),
    (
        "App: Istio HTTP Plain",
        &["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"],
    ),
    ("App: TCP TLS", &["istio-peer-exchange", "istio"]),
    ("App: HTTP", &["http/1.0", "http/1.1", "h2c"]),
];

/// The filter that ends a chain.
enum Last {
    Http(Box<HttpConnectionManager>),
    Tcp(Box<TcpProxy>),
}

impl Filter {
    fn accepts(&self, listener: &Listener) -> bool {
        let Self {
            address,
            port,
            kind,
        } = self;
        let (at, on) = socket(listener.address.as_ref());
        let same = |wanted: &Option<String>, is: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        same(address, &at)
            && port.is_none_or(|port| Some(port) == on)
            && same(kind, listener_type(listener))
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
        filter,
    } = arguments;
    let listeners = sorted(&subject.dump(locator)?, &filter, terminal);
    let text = match output {
        Format::Short => table(&listeners).to_string(),
        Format::Json | Format::Yaml => render(&listeners, output)?,
    };
    Ok(terminal.print(&text)?)
}

/// The table of listeners.
pub(super) fn summary(dump: &ConfigDump, filter: &Filter, terminal: &Terminal) -> Table {
    table(&sorted(dump, filter, terminal))
}

fn sorted(dump: &ConfigDump, filter: &Filter, terminal: &Terminal) -> Vec<Listener> {
    let mut listeners = understood(dump.listeners(), terminal);
    listeners.retain(|it| filter.accepts(it));
    listeners.sort_by_key(|it| {
        let (address, port) = socket(it.address.as_ref());
        (port, address, listener_type(it))
    });
    listeners
}

fn table(listeners: &[Listener]) -> Table {
    let mut table = Table::new(["ADDRESSES", "PORT", "MATCH", "DESTINATION"], 1);
    for listener in listeners {
        let (address, port) = socket(listener.address.as_ref());
        let more = listener.additional_addresses.iter();
        let more = more.map(|it| socket(it.address.as_ref()).0);
        let addresses: Vec<_> = std::iter::once(address).chain(more).collect();
        let mut rows: Vec<_> = chains(listener)
            .map(|chain| (chain_match(chain), chain_destination(chain)))
            .collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1));
        for (chain_match, destination) in rows {
            table.row([
                addresses.join(","),
                port.map(|it| it.to_string()).unwrap_or_default(),
                chain_match,
                destination,
            ]);
        }
    }
    table
}

fn chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain)
}

fn listener_type(listener: &Listener) -> &'static str {
    let filters = chains(listener).flat_map(|chain| &chain.filters);
    let (mut http, mut tcp) = (false, false);
    for filter in filters.filter_map(terminal_filter) {
        match filter {
            Last::Http(_) => http = true,
            Last::Tcp(proxy) => tcp |= tcp_cluster(&proxy) != BLACK_HOLE,
        }
    }
    match (http, tcp) {
        (true, true) => "HTTP+TCP",
        (true, false) => "HTTP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

fn terminal_filter(filter: &NetworkFilter) -> Option<Last> {
    let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
        return None;
    };
    let is = |name: &str| config.type_url.ends_with(name);
    if is(".HttpConnectionManager") {
        return unpack(config).map(|it| Last::Http(Box::new(it)));
    }
    if is(".TcpProxy") {
        return unpack(config).map(|it| Last::Tcp(Box::new(it)));
    }
    None
}

fn unpack<M: prost::Message + prost::Name + Default>(config: &Any) -> Option<M> {
    any::unpack(config).ok()
}

fn chain_match(chain: &FilterChain) -> String {
    let Some(it) = &chain.filter_chain_match else {
        return "ALL".to_owned();
    };
    let mut words = Vec::new();
    if !it.server_names.is_empty() {
        words.push(format!("SNI: {}", it.server_names.join(",")));
    }
    if !it.transport_protocol.is_empty() {
        words.push(format!("Trans: {}", it.transport_protocol));
    }
    if !it.application_protocols.is_empty() {
        let known = PROTOCOLS
            .iter()
            .find(|(_, set)| it.application_protocols == *set);
        words.push(match known {
            Some((name, _)) => (*name).to_owned(),
            None => format!("App: {}", it.application_protocols.join(",")),
        });
    }
    let port = it.destination_port.map(|port| format!(":{port}"));
    let ranges: Vec<_> = it
        .prefix_ranges
        .iter()
        .map(|range| {
            let length = range.prefix_len.unwrap_or_default();
            format!("{}/{length}", range.address_prefix)
        })
        .collect();
    match (ranges.is_empty(), port) {
        (false, port) => {
            let port = port.unwrap_or_default();
            words.push(format!("Addr: {}{port}", ranges.join(",")));
        }
        (true, Some(port)) => words.push(format!("Addr: *{port}")),
        (true, None) => {}
    }
    if words.is_empty() {
        return "ALL".to_owned();
    }
    words.join("; ")
}

fn chain_destination(chain: &FilterChain) -> String {
    match chain.filters.iter().find_map(terminal_filter) {
        Some(Last::Http(manager)) => match &manager.route_specifier {
            Some(RouteSpecifier::Rds(rds)) if !rds.route_config_name.is_empty() => {
                format!("Route: {}", rds.route_config_name)
            }
            Some(RouteSpecifier::RouteConfig(table)) => inline_routes(table),
            Some(_) | None => "HTTP".to_owned(),
        },
        Some(Last::Tcp(proxy)) => cluster(&tcp_cluster(&proxy)),
        None => "Non-HTTP/Non-TCP".to_owned(),
    }
}

/// A cluster as istioctl names it: those without a service say themselves that they are clusters.
fn cluster(name: &str) -> String {
    if name.contains("Cluster") {
        name.to_owned()
    } else {
        format!("Cluster: {name}")
    }
}

fn tcp_cluster(proxy: &TcpProxy) -> String {
    match &proxy.cluster_specifier {
        Some(tcp_proxy::ClusterSpecifier::Cluster(name)) => name.clone(),
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
            let clusters = weighted.clusters.iter();
            let clusters = clusters.map(|it| format!("{} {}", it.name, it.weight));
            clusters.collect::<Vec<_>>().join(", ")
        }
        None => String::new(),
    }
}

fn inline_routes(table: &RouteConfiguration) -> String {
    if let [host] = table.virtual_hosts.as_slice()
        && let ([domain], [route]) = (host.domains.as_slice(), host.routes.as_slice())
        && domain == "*"
        && route_match(route.r#match.as_ref()) == "/*"
        && !referred(route).is_empty()
    {
        return cluster(&destinations(route));
    }
    let hosts = table.virtual_hosts.iter().map(|host| {
        let routes = host
            .routes
            .iter()
            .map(|it| route_match(it.r#match.as_ref()));
        let routes = routes.collect::<Vec<_>>().join(", ");
        match domains(&host.domains).as_str() {
            "*" => routes,
            domains => format!("{domains} {routes}"),
        }
    });
    format!("Inline Route: {}", hosts.collect::<Vec<_>>().join("; "))
}
