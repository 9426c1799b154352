//! Where discovered resources come from (`envoy.config.core.v3.ConfigSource`).

use std::path::PathBuf;
use std::time::Duration;

/// Where a resource comes from, and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigSource {
    /// From where.
    pub from: ResourceSource,
    /// What needs the resource waits this long for the first one (`initial_fetch_timeout`), 15 s unless
    /// set; zero waits without limit.
    pub initial_fetch_timeout: Duration,
}

/// What delivers resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceSource {
    /// The proxy's ADS stream (`ads`).
    #[default]
    Ads,
    /// A file that is a discovery response (`path_config_source`), read again when another takes its
    /// place.
    Path(PathBuf),
    /// A discovery service of this kind of resource (`api_config_source`).
    Service(DiscoveryService),
}

/// A discovery service, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiscoveryService {
    /// The cluster that reaches it.
    pub cluster: String,
    /// The `:authority` of each stream, if not the cluster's name.
    pub authority: Option<String>,
    /// Delta rather than state of the world.
    pub delta: bool,
    /// Metadata of each stream.
    pub initial_metadata: Vec<(String, String)>,
    /// How many requests it is sent at most; as many as there are unless given.
    pub rate_limit: Option<RequestRate>,
}

/// How many requests a stream may send (`rate_limit_settings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestRate {
    /// So many at once.
    pub burst: u32,
    /// Then one in this time.
    pub interval: Duration,
}

impl ConfigSource {
    /// How long is waited unless something else is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
}

impl From<ResourceSource> for ConfigSource {
    fn from(from: ResourceSource) -> Self {
        Self {
            from,
            initial_fetch_timeout: Self::DEFAULT_TIMEOUT,
        }
    }
}

impl Default for ConfigSource {
    fn default() -> Self {
        ResourceSource::default().into()
    }
}
