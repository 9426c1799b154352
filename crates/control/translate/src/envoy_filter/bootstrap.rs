//! Patches to what a proxy starts with.
//!
//! In: the BOOTSTRAP patches. Out: what they say together, which the proxy's agent merges onto the
//! bootstrap that it makes before it starts the proxy.

use meltemi_merge::merge;
use meltemi_model::{ApplyTo, PatchContext};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;

use super::listener::lists;
use super::{Patches, message};
use crate::ProxyRole;

impl Patches<'_> {
    /// What the patches say, in their order; an empty message if there are none. A sidecar has one
    /// bootstrap, which is in both of its contexts.
    pub(crate) fn bootstrap(&self, role: ProxyRole) -> Bootstrap {
        let mut bootstrap = Bootstrap::default();
        let patches = self.by_kind.get(&ApplyTo::Bootstrap).into_iter().flatten();
        for patch in patches.filter(|it| is_in(it.context, role)) {
            if let (Some(lists), Some(value)) = (lists(patch), message::encoded(patch)) {
                merge(&mut bootstrap, value, lists);
            }
        }
        bootstrap
    }
}

fn is_in(context: PatchContext, role: ProxyRole) -> bool {
    match context {
        PatchContext::Any => true,
        PatchContext::Gateway => role == ProxyRole::Router,
        PatchContext::SidecarInbound | PatchContext::SidecarOutbound => role == ProxyRole::Sidecar,
    }
}
