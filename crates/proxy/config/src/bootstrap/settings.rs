//! The settings of the whole process, most of which are accepted without effect.

use meltemi_ir::{BindConfig, StatsConfig};
use meltemi_xds::pb::envoy::config::bootstrap::v3 as bootstrap_v3;
use meltemi_xds::pb::envoy::config::bootstrap::v3::runtime_layer::{AdminLayer, LayerSpecifier};
use meltemi_xds::pb::envoy::config::bootstrap::v3::{
    LayeredRuntime, ListenerManager, RuntimeLayer,
};
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::metrics::v3 as metrics_v3;
use meltemi_xds::pb::envoy::config::metrics::v3::tag_specifier::TagValue;
use meltemi_xds::pb::envoy::config::overload::v3::OverloadManager;
use meltemi_xds::pb::envoy::extensions::bootstrap::internal_listener::v3::InternalListener;
use meltemi_xds::pb::envoy::extensions::regex_engines::v3::GoogleRe2;
use prost_types::Any;

use crate::extension::{Known, empty_message, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::path::At;
use crate::scalar::non_empty;
use crate::socket::bind;

/// Checks the configuration of an extension that is accepted without effect.
pub(crate) type Check = fn(Option<&Any>, &At<'_>) -> Option<()>;

/// The bootstrap extensions.
pub(crate) static BOOTSTRAP_EXTENSIONS: &[Known<Check>] = &[Known {
    name: "envoy.bootstrap.internal_listener",
    type_name: "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    convert: |config, at| internal_listener(&unpack(config, at)?, at),
}];

/// The regular-expression engines.
pub(crate) static REGEX_ENGINES: &[Known<Check>] = &[Known {
    name: "envoy.regex_engines.google_re2",
    type_name: "envoy.extensions.regex_engines.v3.GoogleRE2",
    convert: google_re2,
}];

/// The listener managers.
pub(crate) static LISTENER_MANAGERS: &[Known<Check>] = &[Known {
    name: "envoy.listener_manager_impl.default",
    type_name: "envoy.config.bootstrap.v3.ListenerManager",
    convert: listener_manager,
}];

empty_message!(google_re2, GoogleRe2);
empty_message!(listener_manager, ListenerManager);

const SOCKET_INTERFACE: &str = "envoy.extensions.network.socket_interface.default_socket_interface";

/// The fields of a bootstrap that are checked here.
pub(super) struct Fields<'a> {
    pub(super) layered_runtime: Option<&'a LayeredRuntime>,
    pub(super) overload_manager: Option<&'a OverloadManager>,
    pub(super) header_prefix: &'a str,
    pub(super) bootstrap_extensions: &'a [TypedExtensionConfig],
    pub(super) default_socket_interface: &'a str,
    pub(super) default_regex_engine: Option<&'a TypedExtensionConfig>,
    pub(super) listener_manager: Option<&'a TypedExtensionConfig>,
}

/// Refuses what would have an effect; `at` is the bootstrap.
pub(super) fn check(fields: &Fields<'_>, at: &At<'_>) {
    if let Some(message) = fields.layered_runtime {
        runtime(message, &at.field("layered_runtime"));
    }
    if let Some(message) = fields.overload_manager {
        overload(message, &at.field("overload_manager"));
    }
    if !matches!(fields.header_prefix, "" | "x-envoy") {
        at.field("header_prefix").refuse("only x-envoy is");
    }
    if !matches!(fields.default_socket_interface, "" | SOCKET_INTERFACE) {
        at.field("default_socket_interface")
            .refuse("only the default one is");
    }
    at.field("bootstrap_extensions")
        .each(fields.bootstrap_extensions, |message, at| {
            checked(message, BOOTSTRAP_EXTENSIONS, at)
        });
    for (message, known, field) in [
        (
            fields.default_regex_engine,
            REGEX_ENGINES,
            "default_regex_engine",
        ),
        (
            fields.listener_manager,
            LISTENER_MANAGERS,
            "listener_manager",
        ),
    ] {
        if let Some(message) = message {
            checked(message, known, &at.field(field));
        }
    }
}

fn checked(message: &TypedExtensionConfig, known: &[Known<Check>], at: &At<'_>) -> Option<()> {
    let (known, config) = typed_extension(message, known, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

fn internal_listener(message: &InternalListener, at: &At<'_>) -> Option<()> {
    fields!(at, message, InternalListener {
        ignored { buffer_size_kb: "internal listeners and addresses are refused" }
    });
    Some(())
}

/// Where connections of clusters come from that do not say so themselves.
pub(super) fn cluster_manager(
    message: &bootstrap_v3::ClusterManager,
    at: &At<'_>,
) -> Option<BindConfig> {
    fields!(at, message, bootstrap_v3::ClusterManager {
        partly { upstream_bind_config: "without local_address_selector" }
        refused { load_stats_config: "load reports" }
        ignored {
            local_cluster_name: "it is for zone-aware routing, which there is not",
            outlier_detection: "outlier detection is refused",
            enable_deferred_cluster_creation: "it only spares memory",
        }
    });
    upstream_bind_config
        .as_ref()
        .map(|message| bind(message, &at.field("upstream_bind_config")))
}

fn runtime(message: &LayeredRuntime, at: &At<'_>) {
    fields!(at, message, LayeredRuntime {
        partly { layers: "static and admin layers, without effect" }
    });
    at.field("layers").each(layers, layer);
}

fn layer(message: &RuntimeLayer, at: &At<'_>) -> Option<()> {
    fields!(at, message, RuntimeLayer {
        honoured { name }
        oneof { layer_specifier {
            static_layer: Ignored "no runtime key is known; Envoy passes over unknown ones too",
            admin_layer: Ignored "no runtime key is known; Envoy passes over unknown ones too",
            disk_layer: Refused "",
            rtds_layer: Refused "",
        } }
    });
    non_empty(name, &at.field("name"));
    match layer_specifier {
        // ignored: no runtime key is known; Envoy passes over unknown ones too.
        Some(LayerSpecifier::StaticLayer(_)) => {}
        Some(LayerSpecifier::AdminLayer(message)) => {
            fields!(at, message, AdminLayer {});
        }
        Some(LayerSpecifier::DiskLayer(_)) => at.field("disk_layer").refuse(""),
        Some(LayerSpecifier::RtdsLayer(_)) => at.field("rtds_layer").refuse(""),
        None => at.problem("needs a layer"),
    }
    Some(())
}

fn overload(message: &OverloadManager, at: &At<'_>) {
    fields!(at, message, OverloadManager {
        unsupported { resource_monitors, actions, loadshed_points, buffer_factory_config }
        ignored { refresh_interval: "there is nothing to refresh" }
    });
}

/// How statistics are tagged.
pub(super) fn stats(message: Option<&metrics_v3::StatsConfig>, at: &At<'_>) -> StatsConfig {
    let Some(message) = message else {
        return StatsConfig {
            fixed_tags: Vec::new(),
            use_all_default_tags: true,
        };
    };
    fields!(at, message, metrics_v3::StatsConfig {
        honoured { use_all_default_tags }
        partly { stats_tags: "fixed values; tags found by expressions are those of Envoy's defaults" }
        ignored {
            stats_matcher: "every statistic is kept, which costs little",
            histogram_bucket_settings: "histograms have Envoy's default buckets",
            allow_default_tag_overrides: "the default tags are not changed",
        }
    });
    StatsConfig {
        fixed_tags: at.field("stats_tags").each(stats_tags, fixed_tag),
        use_all_default_tags: use_all_default_tags.unwrap_or(true),
    }
}

fn fixed_tag(message: &metrics_v3::TagSpecifier, at: &At<'_>) -> Option<(String, String)> {
    fields!(at, message, metrics_v3::TagSpecifier {
        honoured { tag_name }
        oneof { tag_value {
            fixed_value: Honoured "",
            regex: Ignored "tags found by expressions are those of Envoy's defaults",
        } }
    });
    match tag_value {
        Some(TagValue::FixedValue(value)) => Some((tag_name.clone(), value.clone())),
        // ignored: tags found by expressions are those of Envoy's defaults.
        Some(TagValue::Regex(_)) | None => None,
    }
}
