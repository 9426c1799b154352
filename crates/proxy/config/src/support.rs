//! What the proxy does with every field of every message it reads, and the extensions it has:
//! the source of `docs/support.md` and of the `extensions` that the proxy's node lists.

mod messages;

use crate::FieldState;
use crate::extension::Known;
use crate::fields::{Declared, Row};

/// What is done with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportRow {
    /// The full name of the message, such as `envoy.config.route.v3.RouteMatch`.
    pub message: String,
    /// The field, as the protocol spells it.
    pub field: &'static str,
    /// What is done with it.
    pub state: FieldState,
    /// The limits of what is honoured, or the reason why it is not; may be empty.
    pub note: &'static str,
}

/// An extension that the proxy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedExtension {
    /// Its kind, such as `envoy.filters.http`.
    pub category: &'static str,
    /// Its well-known name; empty where it has none.
    pub name: &'static str,
    /// The full name of its configuration message.
    pub type_name: &'static str,
}

impl SupportedExtension {
    /// The type URL of its configuration.
    pub fn type_url(&self) -> String {
        format!("type.googleapis.com/{}", self.type_name)
    }
}

/// A row for each field of each message, in the order of the messages' names.
pub fn rows() -> Vec<SupportRow> {
    let mut rows: Vec<_> = messages::MESSAGES.iter().flat_map(|rows| rows()).collect();
    rows.sort_by(|left, right| left.message.cmp(&right.message));
    rows
}

fn rows_of<M: Declared + prost::Name>() -> Vec<SupportRow> {
    let row = |row: &Row| SupportRow {
        message: M::full_name(),
        field: match row.field.strip_prefix("r#").unwrap_or(row.field) {
            // What prost makes of a field called `self`.
            "self_" => "self",
            field => field,
        },
        state: row.state,
        note: row.note,
    };
    M::ROWS.iter().map(row).collect()
}

fn add_logging(all: &mut Vec<SupportedExtension>) {
    use crate::access_log;
    add(all, "envoy.access_loggers", access_log::LOGGERS);
    add(
        all,
        "envoy.access_loggers.extension_filters",
        access_log::filter::LOG_FILTERS,
    );
}

/// The extensions that the proxy has, by category.
pub fn supported_extensions() -> Vec<SupportedExtension> {
    let mut all = Vec::new();
    add_logging(&mut all);
    add(
        &mut all,
        "envoy.bootstrap",
        crate::bootstrap::BOOTSTRAP_EXTENSIONS,
    );
    add(&mut all, "envoy.clusters", crate::cluster::DISCOVERY);
    add(
        &mut all,
        "envoy.filters.http",
        crate::http_filter::HTTP_FILTERS,
    );
    add(
        &mut all,
        "envoy.filters.http.upstream",
        crate::cluster::UPSTREAM_HTTP_FILTERS,
    );
    add(
        &mut all,
        "envoy.filters.listener",
        crate::listener::LISTENER_FILTERS,
    );
    add(
        &mut all,
        "envoy.filters.network",
        crate::filter_chain::NETWORK_FILTERS,
    );
    add(
        &mut all,
        "envoy.filters.upstream_network",
        crate::cluster::UPSTREAM_FILTERS,
    );
    add(
        &mut all,
        "envoy.http.stateful_header_formatters",
        crate::http_options::HEADER_FORMATTERS,
    );
    add(
        &mut all,
        "envoy.listener_manager_impl",
        crate::bootstrap::LISTENER_MANAGERS,
    );
    add(
        &mut all,
        "envoy.load_balancing_policies",
        crate::cluster::LOAD_BALANCING,
    );
    add(
        &mut all,
        "envoy.network.dns_resolver",
        crate::cluster::DNS_RESOLVERS,
    );
    add(&mut all, "envoy.path.match", crate::uri_template::MATCHERS);
    add(
        &mut all,
        "envoy.path.rewrite",
        crate::uri_template::REWRITERS,
    );
    add(&mut all, "envoy.rbac.principals", crate::rbac::PRINCIPALS);
    add(
        &mut all,
        "envoy.regex_engines",
        crate::bootstrap::REGEX_ENGINES,
    );
    add(&mut all, "envoy.request_id", crate::hcm::REQUEST_IDS);
    add(
        &mut all,
        "envoy.retry_host_predicates",
        crate::retry::HOST_PREDICATES,
    );
    add(
        &mut all,
        "envoy.retry_priorities",
        crate::retry::RETRY_PRIORITIES,
    );
    add(
        &mut all,
        "envoy.transport_sockets.downstream",
        crate::tls::DOWNSTREAM,
    );
    add(
        &mut all,
        "envoy.transport_sockets.upstream",
        crate::tls::UPSTREAM,
    );
    all.push(SupportedExtension {
        category: "envoy.upstream_options",
        name: crate::cluster::HTTP_PROTOCOL_OPTIONS,
        type_name: crate::cluster::HTTP_PROTOCOL_OPTIONS,
    });
    add(
        &mut all,
        "envoy.filters.http",
        crate::per_filter::ROUTE_FILTERS,
    );
    add_http_extensions(&mut all);
    all
}

/// Those of HTTP connection managers and routes.
fn add_http_extensions(all: &mut Vec<SupportedExtension>) {
    add(
        all,
        "envoy.compression.compressor",
        crate::http_filter::compression::COMPRESSORS,
    );
    add(
        all,
        "envoy.compression.decompressor",
        crate::http_filter::compression::DECOMPRESSORS,
    );
    add(all, "envoy.formatter", crate::access_log::FORMATTERS);
    add(
        all,
        "envoy.internal_redirect_predicates",
        crate::route_redirect::PREDICATES,
    );
    add(
        all,
        "envoy.http.original_ip_detection",
        crate::hcm_extension::ORIGINAL_IP,
    );
    add(
        all,
        "envoy.http.early_header_mutation",
        crate::hcm_extension::EARLY_MUTATIONS,
    );
}

fn add<F>(all: &mut Vec<SupportedExtension>, category: &'static str, known: &[Known<F>]) {
    all.extend(known.iter().map(|known| SupportedExtension {
        category,
        name: known.name,
        type_name: known.type_name,
    }));
}

/// The type URLs of every extension's configuration, sorted, each once.
pub fn supported_type_urls() -> Vec<String> {
    let mut urls: Vec<String> = supported_extensions()
        .iter()
        .map(SupportedExtension::type_url)
        .collect();
    urls.sort();
    urls.dedup();
    urls
}
