//! Where the configuration of an extension is discovered (ECDS).
//!
//! In: `config_discovery` of a filter. Out: where it comes from; the configuration itself is put
//! in its place by `meltemi-proxy`, which asks for it.

use meltemi_ir::ConfigSource;
use meltemi_xds::pb::envoy::config::core::v3::ExtensionConfigSource;

use crate::config_source::required_source;
use crate::fields::fields;
use crate::path::At;

/// Where a filter's configuration comes from.
pub(crate) fn source(message: &ExtensionConfigSource, at: &At<'_>) -> Option<ConfigSource> {
    fields!(at, message, ExtensionConfigSource {
        honoured { config_source, default_config, apply_default_config_without_warming, type_urls }
    });
    if type_urls.is_empty() {
        at.field("type_urls").problem("names no type");
        return None;
    }
    if *apply_default_config_without_warming && default_config.is_none() {
        let at = at.field("apply_default_config_without_warming");
        at.problem("there is no default_config");
        return None;
    }
    required_source(config_source.as_ref(), &at.field("config_source"))
}
