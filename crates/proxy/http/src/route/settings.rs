//! What a route says of filters, from the narrowest scope to the widest: the chosen cluster, the
//! route, its virtual host, the table.

use std::sync::Arc;

use meltemi_ir as ir;

use super::{Action, RouteIndex, RouteTable};
use crate::filter::route_config::Setting;
use crate::filter::{RouteConfig, RouteOverride};

/// What the route of one request says of filters.
#[derive(Clone, Copy)]
pub(crate) struct RouteSettings<'a> {
    table: Option<&'a RouteTable>,
    index: Option<RouteIndex>,
    cluster_at: Option<usize>,
}

impl<'a> RouteSettings<'a> {
    pub(crate) fn new(
        table: Option<&'a RouteTable>,
        index: Option<RouteIndex>,
        cluster_at: Option<usize>,
    ) -> Self {
        Self {
            table,
            index,
            cluster_at,
        }
    }

    /// Whether the route turns the filter of this name on or off, where it says anything.
    #[inline]
    pub(crate) fn enables(&self, name: &str) -> Option<bool> {
        let mut settings = self.settings(name)?;
        Some(!matches!(settings.next()?, Setting::Disabled))
    }

    /// The narrowest scope's settings for the filter of this name.
    pub(crate) fn config(&self, name: &str) -> Option<&'a RouteConfig> {
        self.settings(name)?.find_map(|setting| match setting {
            Setting::Config(config) => Some(config),
            Setting::Disabled | Setting::Enabled => None,
        })
    }

    /// Every scope's settings for the filter of this name, the narrowest first.
    pub(crate) fn configs(&self, name: &str) -> impl Iterator<Item = &'a RouteConfig> + use<'a> {
        let settings = self.settings(name);
        let found: Vec<_> = settings
            .into_iter()
            .flatten()
            .filter_map(|setting| match setting {
                Setting::Config(config) => Some(config),
                Setting::Disabled | Setting::Enabled => None,
            })
            .collect();
        found.into_iter()
    }

    /// The route's older CORS policy, then its virtual host's.
    pub(crate) fn cors(&self) -> Option<&'a [Arc<ir::Cors>]> {
        let (_, target) = self.table?.entry(self.index?).target()?;
        Some(&target.cors)
    }

    /// The route's target, where it forwards.
    pub(crate) fn target(&self) -> Option<&'a ir::RouteTarget> {
        let (config, _) = self.table?.entry(self.index?).target()?;
        Some(config)
    }

    /// The virtual host.
    pub(crate) fn virtual_host(&self) -> Option<&'a ir::VirtualHost> {
        Some(&self.table?.host(self.index?).config)
    }

    /// The route's metadata.
    pub(crate) fn metadata(&self) -> Option<&'a ir::Metadata> {
        Some(&self.table?.entry(self.index?).config.metadata)
    }

    /// What the scopes say of the filter of this name; none where no route of the table says
    /// anything of any.
    #[inline]
    fn settings<'n>(
        &self,
        name: &'n str,
    ) -> Option<impl Iterator<Item = &'a Setting> + use<'a, 'n>> {
        let table = self.table.filter(|table| table.has_overrides)?;
        let index = self.index?;
        let route = table.entry(index);
        let choice: &[RouteOverride] = match (&route.action, self.cluster_at) {
            (Action::Forward(target), Some(at)) => target.overrides(at),
            _ => &[],
        };
        let scopes: [&'a [RouteOverride]; 4] = [
            choice,
            &route.overrides,
            &table.host(index).overrides,
            &table.overrides,
        ];
        Some(
            scopes
                .into_iter()
                .flatten()
                .filter(move |entry| *entry.name == *name)
                .map(|entry| &entry.setting),
        )
    }
}
