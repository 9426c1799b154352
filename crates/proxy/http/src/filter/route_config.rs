//! What routes say of single filters, compiled (`typed_per_filter_config`).

use std::sync::Arc;

use meltemi_ir as ir;

use super::header_mutation::Mutations;
use super::local_ratelimit::Limiter;
use super::rbac::Access;
use super::set_metadata::StateWriter;
use crate::mutation::MutationError;

/// What one scope says of one filter.
pub(crate) struct RouteOverride {
    /// The filter's name in the connection manager.
    pub(crate) name: Box<str>,
    pub(crate) setting: Setting,
}

/// What is said of a filter.
pub(crate) enum Setting {
    Disabled,
    Enabled,
    Config(RouteConfig),
}

/// A filter's settings for a route.
pub(crate) enum RouteConfig {
    Cors(Arc<ir::Cors>),
    Fault(Arc<ir::Fault>),
    HeaderMutation(Mutations),
    LocalRateLimit(Limiter),
    Buffer(u32),
    HeaderToMetadata(Arc<ir::HeaderToMetadata>),
    SetFilterState(StateWriter),
    Compressor(ir::CompressorOverrides),
    Rbac(Box<Access>),
    JwtAuthn(Arc<ir::JwtRoute>),
    ExtAuthz(Arc<ir::ExtAuthzRoute>),
    ForwardProxy(ir::ForwardProxyHost),
}

impl RouteOverride {
    /// Compiles what one scope says.
    pub(crate) fn all(filters: &[ir::RouteFilter]) -> Result<Box<[Self]>, MutationError> {
        filters.iter().map(Self::new).collect()
    }

    fn new(filter: &ir::RouteFilter) -> Result<Self, MutationError> {
        use ir::RouteFilterKind as Kind;
        let setting = match &filter.setting {
            ir::RouteFilterSetting::Disabled => Setting::Disabled,
            ir::RouteFilterSetting::Enabled => Setting::Enabled,
            ir::RouteFilterSetting::Config(kind) => Setting::Config(match kind {
                Kind::Cors(config) => RouteConfig::Cors(config.clone()),
                Kind::Fault(config) => RouteConfig::Fault(config.clone()),
                Kind::HeaderMutation(config) => {
                    RouteConfig::HeaderMutation(Mutations::new(config)?)
                }
                Kind::LocalRateLimit(config) => RouteConfig::LocalRateLimit(Limiter::new(config)?),
                Kind::Buffer(most) => RouteConfig::Buffer(*most),
                Kind::HeaderToMetadata(config) => RouteConfig::HeaderToMetadata(config.clone()),
                Kind::SetFilterState(config) => {
                    RouteConfig::SetFilterState(StateWriter::new(config)?)
                }
                Kind::ExtAuthz(route) => RouteConfig::ExtAuthz(route.clone()),
                Kind::ForwardProxy(host) => RouteConfig::ForwardProxy(host.clone()),
                Kind::JwtAuthn(route) => RouteConfig::JwtAuthn(route.clone()),
                Kind::Compressor(overrides) => RouteConfig::Compressor(overrides.clone()),
                Kind::Rbac(config) => RouteConfig::Rbac(Box::new(Access::new(config))),
            }),
        };
        Ok(Self {
            name: filter.name.as_str().into(),
            setting,
        })
    }
}

impl std::fmt::Debug for RouteOverride {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RouteOverride").field(&self.name).finish()
    }
}
