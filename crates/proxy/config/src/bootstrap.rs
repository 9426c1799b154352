//! The bootstrap: what the proxy starts with.

mod dynamic;
mod settings;

use std::collections::HashSet;

use meltemi_ir::{Admin, Ads, Bootstrap, Cluster, Listener, Node, SecretConfig};
use meltemi_xds::any;
use meltemi_xds::json::{self, Failure, JsonError};
use meltemi_xds::pb::envoy::config::bootstrap::v3 as bootstrap_v3;
use meltemi_xds::pb::envoy::config::bootstrap::v3::bootstrap::StaticResources;
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use prost::{Message, Name};

use crate::address::socket;
use crate::cluster::{cluster, dns_resolver};
use crate::endpoint::locality;
use crate::error::{ConfigError, ConfigErrors};
use crate::fields::fields;
use crate::listener::listener;
use crate::metadata::fields_of;
use crate::path::{At, Problems};
use crate::secret::secret;
use crate::yaml::Document;

pub(crate) use settings::{BOOTSTRAP_EXTENSIONS, LISTENER_MANAGERS, REGEX_ENGINES};

/// Reads a bootstrap in YAML or JSON; `file` is named in what goes wrong with its syntax.
///
/// # Errors
/// Malformed YAML, with file and line; a field that does not exist, with its path; or everything
/// that [`bootstrap`] finds.
pub fn bootstrap_from_yaml(
    text: &str,
    file: &str,
) -> Result<(bootstrap_v3::Bootstrap, Bootstrap), ConfigErrors> {
    let message = bootstrap_message(text, file)?;
    let converted = bootstrap(&message)?;
    Ok((message, converted))
}

/// Reads a bootstrap in YAML or JSON as Envoy's message, not yet converted.
///
/// # Errors
/// Malformed YAML, with file and line; a field that does not exist, with its path.
pub fn bootstrap_message(text: &str, file: &str) -> Result<bootstrap_v3::Bootstrap, ConfigErrors> {
    from_yaml(text, file)
}

/// Reads the secrets of a file that is a discovery response (`path_config_source`).
///
/// # Errors
/// As [`bootstrap_message`], or a resource that is no secret, with its place.
pub fn secret_messages(text: &str, file: &str) -> Result<Vec<Secret>, ConfigErrors> {
    let response: DiscoveryResponse = from_yaml(text, file)?;
    let secret = |(index, resource)| {
        any::unpack::<Secret>(resource).map_err(|error| {
            ConfigErrors::from(ConfigError {
                path: format!("resources[{index}]"),
                problem: error.to_string(),
            })
        })
    };
    response.resources.iter().enumerate().map(secret).collect()
}

fn from_yaml<M: Message + Name + Default>(text: &str, file: &str) -> Result<M, ConfigErrors> {
    if let Some(document) = Document::plain(text) {
        match json::from_deserializer(document) {
            Ok(message) => return Ok(message),
            Err(Failure::Value(error)) => return Err(unfit(&error)),
            // what is wrong with YAML, the library tells better
            Err(Failure::Document(_)) => {}
        }
    }
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| malformed(&error, file))?;
    json::from_json(value).map_err(|error| unfit(&error))
}

fn malformed(error: &serde_saphyr::Error, file: &str) -> ConfigErrors {
    let place = match error.location() {
        Some(location) => format!("{file}:{}:{}", location.line(), location.column()),
        None => file.to_owned(),
    };
    // The place stands at the end of the text too.
    let problem = error.without_snippet().to_string();
    let problem = problem
        .rsplit_once(" at line ")
        .map_or(problem.as_str(), |(text, _)| text);
    ConfigErrors::from(ConfigError {
        path: place,
        problem: problem.to_owned(),
    })
}

fn unfit(error: &JsonError) -> ConfigErrors {
    let text = error.to_string();
    let path = error.path().to_owned();
    let problem = text
        .strip_prefix(&format!("{path}: "))
        .unwrap_or(&text)
        .to_owned();
    ConfigError { path, problem }.into()
}

/// Converts a bootstrap.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn bootstrap(message: &bootstrap_v3::Bootstrap) -> Result<Bootstrap, ConfigErrors> {
    Problems::collect(|at| convert(message, at))
}

fn convert(message: &bootstrap_v3::Bootstrap, at: &At<'_>) -> Option<Bootstrap> {
    fields!(at, message, bootstrap_v3::Bootstrap {
        honoured { node, static_resources, admin }
        partly {
            dynamic_resources: "ads",
            cluster_manager: "without effect",
            stats_config: "without effect on which statistics there are",
            layered_runtime: "static and admin layers, without effect",
            overload_manager: "empty",
            header_prefix: "x-envoy",
            typed_dns_resolver_config: "the system's servers",
            bootstrap_extensions: "envoy.bootstrap.internal_listener, without effect",
            default_socket_interface: "the default one",
            default_regex_engine: "RE2",
            listener_manager: "the default one",
        }
        oneof {
            stats_flush { stats_flush_on_admin: Ignored "there are no statistics sinks" },
            stats_eviction { stats_eviction_interval: Ignored "statistics live as long as what they count" },
        }
        refused {
            node_context_params: "resource names are not URLs",
            dns_resolution_config: "the system's servers are asked",
            config_sources: "resource names are not URLs",
            default_config_source: "resource names are not URLs",
        }
        unsupported {
            hds_config, flags_path, stats_sinks, tracing, use_tcp_for_dns_lookups, fatal_actions,
            certificate_provider_instances, xds_delegate_extension, xds_config_tracker_extension,
        }
        ignored {
            deferred_stat_options: "it only spares memory",
            stats_flush_interval: "there are no statistics sinks",
            watchdog: "there is no watchdog",
            watchdogs: "there is no watchdog",
            enable_dispatcher_stats: "it adds statistics only",
            stats_server_version_override: "it changes one statistic only",
            inline_headers: "it only changes how headers are stored",
            perf_tracing_file_path: "it is for Envoy's developers",
            application_log_config: "the proxy's own log has one format",
            grpc_async_client_manager_config: "it only spares memory",
            memory_allocator_manager: "it only changes how memory is kept",
            enable_worker_cpu_affinity: "it only changes where threads run",
        }
    });
    // ignored: there are no sinks, and statistics live as long as what they count.
    let _ = (stats_flush, stats_eviction);
    let upstream_bind = cluster_manager
        .as_ref()
        .and_then(|message| settings::cluster_manager(message, &at.field("cluster_manager")));
    settings::check(
        &settings::Fields {
            layered_runtime: layered_runtime.as_ref(),
            overload_manager: overload_manager.as_ref(),
            header_prefix,
            bootstrap_extensions,
            default_socket_interface,
            default_regex_engine: default_regex_engine.as_ref(),
            listener_manager: listener_manager.as_ref(),
        },
        at,
    );
    if let Some(message) = typed_dns_resolver_config {
        dns_resolver(message, &at.field("typed_dns_resolver_config"));
    }
    let node = node
        .as_ref()
        .map(|message| self::node(message, &at.field("node")))
        .unwrap_or_default();
    let admin = admin
        .as_ref()
        .and_then(|message| self::admin(message, &at.field("admin")));
    let resources = static_resources
        .as_ref()
        .map(|message| resources(message, &at.field("static_resources")))
        .unwrap_or_default();
    let dynamic = dynamic_resources
        .as_ref()
        .map(|message| {
            dynamic::dynamic(message, &resources.clusters, &at.field("dynamic_resources"))
        })
        .unwrap_or_default();
    if dynamic.ads.is_some() && (node.id.is_empty() || node.cluster.is_empty()) {
        at.field("node")
            .problem("needs an id and a cluster to ask a management server");
    }
    Some(Bootstrap {
        node,
        admin,
        listeners: resources.listeners,
        clusters: resources.clusters,
        secrets: resources.secrets,
        ads: dynamic.ads,
        lds: dynamic.lds,
        cds: dynamic.cds,
        upstream_bind,
        stats: settings::stats(stats_config.as_ref(), &at.field("stats_config")),
    })
}

fn node(message: &core_v3::Node, at: &At<'_>) -> Node {
    fields!(at, message, core_v3::Node {
        honoured { id, cluster, metadata, locality }
        oneof { user_agent_version_type {
            user_agent_version: Ignored "the proxy says what it is",
            user_agent_build_version: Ignored "the proxy says what it is",
        } }
        refused { dynamic_parameters: "resource names are not URLs" }
        ignored {
            user_agent_name: "the proxy says what it is",
            extensions: "the proxy says what it has",
            client_features: "the proxy says what it can",
            listening_addresses: "Envoy does not send it either",
        }
    });
    // ignored: the proxy says what it is.
    let _ = user_agent_version_type;
    Node {
        id: id.clone(),
        cluster: cluster.clone(),
        locality: locality
            .as_ref()
            .map(|message| self::locality(message, &at.field("locality")))
            .unwrap_or_default(),
        metadata: metadata.as_ref().map(fields_of).unwrap_or_default(),
    }
}

fn admin(message: &bootstrap_v3::Admin, at: &At<'_>) -> Option<Admin> {
    fields!(at, message, bootstrap_v3::Admin {
        honoured { address }
        unsupported { socket_options, allow_paths }
        ignored {
            access_log: "requests to the administration endpoint are not logged",
            access_log_path: "requests to the administration endpoint are not logged",
            profile_path: "there is no profiler",
            ignore_global_conn_limit: "there is no overload manager",
        }
    });
    // Without an address there is no endpoint.
    address.as_ref()?;
    let address = socket(address.as_ref(), &at.field("address"))?;
    Some(Admin { address })
}

#[derive(Default)]
struct Resources {
    listeners: Vec<Listener>,
    clusters: Vec<Cluster>,
    secrets: Vec<SecretConfig>,
}

fn resources(message: &StaticResources, at: &At<'_>) -> Resources {
    fields!(at, message, StaticResources { honoured { listeners, clusters, secrets } });
    unique(listeners, |listener| &listener.name, &at.field("listeners"));
    unique(clusters, |cluster| &cluster.name, &at.field("clusters"));
    unique(secrets, |secret| &secret.name, &at.field("secrets"));
    Resources {
        listeners: at.field("listeners").each(listeners, listener),
        clusters: at.field("clusters").each(clusters, cluster),
        secrets: at.field("secrets").each(secrets, secret),
    }
}

/// No two may have the same name.
fn unique<T>(list: &[T], name: impl Fn(&T) -> &String, at: &At<'_>) {
    let mut seen = HashSet::new();
    for (index, item) in list.iter().enumerate() {
        let name = name(item);
        if !name.is_empty() && !seen.insert(name) {
            at.index(index)
                .field("name")
                .problem(format_args!("{name:?} is taken by another"));
        }
    }
}

/// What `dynamic_resources` says.
#[derive(Default)]
struct Dynamic {
    ads: Option<Ads>,
    lds: bool,
    cds: bool,
}
