//! Where the configuration of an extension is discovered (ECDS).
//!
//! In: `config_discovery` of a filter. Out: whether it is understood; the configuration itself is put
//! in its place by `meltemi-proxy`, which asks for it.

use meltemi_xds::pb::envoy::config::core::v3::ExtensionConfigSource;
use meltemi_xds::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;

use crate::fields::fields;
use crate::path::At;

/// Checks where a filter's configuration comes from.
pub(crate) fn check(message: &ExtensionConfigSource, at: &At<'_>) -> Option<()> {
    fields!(at, message, ExtensionConfigSource {
        honoured { default_config, apply_default_config_without_warming, type_urls }
        partly { config_source: "ADS" }
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
    let source = config_source.as_ref();
    let source = source.and_then(|it| it.config_source_specifier.as_ref());
    match source {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Some(()),
        Some(_) => {
            at.field("config_source").refuse("write ads");
            None
        }
        None => {
            at.field("config_source").problem("is needed");
            None
        }
    }
}
