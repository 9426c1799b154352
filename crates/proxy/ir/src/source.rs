//! Where discovered resources come from (`envoy.config.core.v3.ConfigSource`).

use std::path::PathBuf;

/// Where listeners, clusters, route tables or endpoints come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceSource {
    /// The proxy's ADS stream (`ads`).
    #[default]
    Ads,
    /// A file that is a discovery response (`path_config_source`), read again when another takes its
    /// place.
    Path(PathBuf),
}
