//! The bootstrap: what the proxy starts with.

mod dynamic;
mod settings;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use meltemi_ir::{
    Admin, Bootstrap, Cluster, ConfigSource, DiscoveryService, Listener, Node, SecretConfig,
};
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
use crate::pieces::{Elements, Pieces};
use crate::secret::secret;
use crate::yaml::Document;

pub(crate) use settings::{BOOTSTRAP_EXTENSIONS, LISTENER_MANAGERS, REGEX_ENGINES};

/// The field of a bootstrap that holds its node.
const NODE: u64 = 1;

/// The field of a bootstrap that holds its resources, and the one of these that holds clusters.
const CLUSTERS: [u64; 2] = [2, 2];

/// Reads a bootstrap in YAML or JSON; `file` is named in what goes wrong with its syntax.
///
/// # Errors
/// Malformed YAML, with file and line; a field that does not exist, with its path; or everything
/// that [`bootstrap`] finds.
pub fn bootstrap_from_yaml(text: &str, file: &str) -> Result<Bootstrap, ConfigErrors> {
    bootstrap(&encode_bootstrap(text, file)?)
}

/// Reads a bootstrap in YAML or JSON as Envoy's message, encoded, not yet converted.
///
/// # Errors
/// Malformed YAML, with file and line; a field that does not exist, with its path.
pub fn encode_bootstrap(text: &str, file: &str) -> Result<Vec<u8>, ConfigErrors> {
    encode_yaml::<bootstrap_v3::Bootstrap>(text, file)
}

/// The node of an encoded bootstrap, as it is told to management servers.
///
/// # Errors
/// When the encoding is malformed.
pub fn bootstrap_node(encoded: &[u8]) -> Result<core_v3::Node, ConfigErrors> {
    let Some(pieces) = Pieces::take_out(encoded, &[NODE]) else {
        let message: bootstrap_v3::Bootstrap = decode(encoded)?;
        return Ok(message.node.unwrap_or_default());
    };
    decode(&pieces.taken.concat())
}

/// Reads the secrets of a file that is a discovery response (`path_config_source`).
///
/// # Errors
/// As [`encode_bootstrap`], or a resource that is no secret, with its place.
pub fn secret_messages(text: &str, file: &str) -> Result<Vec<Secret>, ConfigErrors> {
    let encoded = encode_yaml::<DiscoveryResponse>(text, file)?;
    let response: DiscoveryResponse = decode(&encoded)?;
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

/// Reads a file that is a discovery response (`path_config_source`), whose form its extension tells as
/// in Envoy: YAML by `yaml` and `yml`, else JSON.
///
/// # Errors
/// Malformed YAML or JSON, with file and line; a field that does not exist, with its path; a form that
/// is not read.
pub fn discovery_response(text: &str, file: &Path) -> Result<DiscoveryResponse, ConfigErrors> {
    let name = file.display().to_string();
    let extension = file.extension().and_then(|it| it.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    let encoded = match extension.as_str() {
        "yaml" | "yml" => encode_yaml::<DiscoveryResponse>(text, &name)?,
        "pb" | "pb_text" => {
            let problem = "only YAML and JSON are read".to_owned();
            return Err(ConfigError {
                path: name,
                problem,
            }
            .into());
        }
        _ => {
            let value = serde_json::from_str(text).map_err(|error| ConfigError {
                path: format!("{name}:{}:{}", error.line(), error.column()),
                problem: error.to_string(),
            })?;
            json::encode_json::<DiscoveryResponse>(value).map_err(|error| unfit(&error))?
        }
    };
    decode(&encoded)
}

fn encode_yaml<M: Name>(text: &str, file: &str) -> Result<Vec<u8>, ConfigErrors> {
    if let Some(document) = Document::plain(text) {
        match json::encode_deserializer::<M, _>(document) {
            Ok(encoded) => return Ok(encoded),
            Err(Failure::Value(error)) => return Err(unfit(&error)),
            // what is wrong with YAML, the library tells better
            Err(Failure::Document(_)) => {}
        }
    }
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|error| malformed(&error, file))?;
    json::encode_json::<M>(value).map_err(|error| unfit(&error))
}

fn decode<M: Message + Default>(encoded: &[u8]) -> Result<M, ConfigErrors> {
    M::decode(encoded).map_err(|error| ConfigError::whole(error.to_string()).into())
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

/// Converts an encoded bootstrap, decoding its clusters one by one.
///
/// # Errors
/// What the proxy cannot honour, and what Envoy would refuse, each with its path.
pub fn bootstrap(encoded: &[u8]) -> Result<Bootstrap, ConfigErrors> {
    match Pieces::take_out(encoded, &CLUSTERS) {
        Some(Pieces { rest, taken }) => {
            let message = decode(&rest)?;
            drop(rest);
            Problems::collect(|at| convert(&message, &taken, at))
        }
        None => {
            let message = decode(encoded)?;
            Problems::collect(|at| convert(&message, &[], at))
        }
    }
}

fn convert(
    message: &bootstrap_v3::Bootstrap,
    clusters: &[&[u8]],
    at: &At<'_>,
) -> Option<Bootstrap> {
    fields!(at, message, bootstrap_v3::Bootstrap {
        honoured { node, static_resources, dynamic_resources, admin }
        partly {
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
    let _ = (stats_flush, stats_eviction); // ignored: there are no sinks
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
    let admin = admin.as_ref();
    let admin = admin.and_then(|message| self::admin(message, &at.field("admin")));
    let resources = static_resources
        .as_ref()
        .map(|message| resources(message, clusters, &at.field("static_resources")))
        .unwrap_or_default();
    let dynamic = dynamic_resources
        .as_ref()
        .map(|message| {
            dynamic::dynamic(message, &resources.clusters, &at.field("dynamic_resources"))
        })
        .unwrap_or_default();
    if dynamic.discovers() {
        check_identity(&node, &at.field("node"));
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

fn check_identity(node: &Node, at: &At<'_>) {
    if node.id.is_empty() || node.cluster.is_empty() {
        at.problem("needs an id and a cluster to ask a management server");
    }
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
    clusters: Vec<Arc<Cluster>>,
    secrets: Vec<SecretConfig>,
}

/// The static resources; `encoded` are the clusters that were taken out of them.
fn resources(message: &StaticResources, encoded: &[&[u8]], at: &At<'_>) -> Resources {
    fields!(at, message, StaticResources { honoured { listeners, clusters, secrets } });
    let mut names = Names::default();
    let listeners = at.field("listeners").each(listeners, |message, at| {
        names.add(&message.name, at);
        listener(message, at)
    });
    let mut names = Names::default();
    let clusters = Elements {
        decoded: clusters,
        encoded,
    };
    let clusters = clusters.each(&at.field("clusters"), |message, at| {
        names.add(&message.name, at);
        cluster(message, at).map(Arc::new)
    });
    let mut names = Names::default();
    let secrets = at.field("secrets").each(secrets, |message, at| {
        names.add(&message.name, at);
        secret(message, at)
    });
    dynamic::check_static(&clusters, &listeners, at);
    Resources {
        listeners,
        clusters,
        secrets,
    }
}

/// The names of a kind so far: no two may have the same.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn add(&mut self, name: &str, at: &At<'_>) {
        if !name.is_empty() && !self.0.insert(name.to_owned()) {
            at.field("name")
                .problem(format_args!("{name:?} is taken by another"));
        }
    }
}

/// What `dynamic_resources` says.
#[derive(Default)]
struct Dynamic {
    ads: Option<DiscoveryService>,
    lds: Option<ConfigSource>,
    cds: Option<ConfigSource>,
}

impl Dynamic {
    /// Whether there is discovery, for which Envoy wants a node even where files are all of it.
    fn discovers(&self) -> bool {
        self.ads.is_some() || self.lds.is_some() || self.cds.is_some()
    }
}
