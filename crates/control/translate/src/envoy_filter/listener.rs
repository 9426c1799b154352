//! Patches to listeners and their chains.
//!
//! In: a listener and the context that it is in. Out: the listener patched, or that it goes.

use meltemi_merge::{Lists, merge, merge_any};
use meltemi_model::{ApplyTo, ConfigPatch, PatchContext, PatchOperation};
use meltemi_xds::pb::envoy::config::core::v3::TransportSocket;
use meltemi_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_xds::pb::envoy::config::listener::v3::{
    FilterChain, Listener, ListenerFilter, listener_filter,
};
use prost::Message;

use super::insert::{self, end};
use super::matching::{listener_filter_name, matches_chain, matches_listener};
use super::{Patches, filter, message, route};

/// Patches a listener; `false` if it goes.
pub(super) fn patch(patches: &Patches<'_>, context: PatchContext, listener: &mut Listener) -> bool {
    if context == PatchContext::SidecarInbound {
        route::patch_inline(patches, context, listener);
    }
    for patch in patches.to(ApplyTo::Listener, context) {
        if !matches_listener(patch, listener) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        if let (Some(lists), Some(value)) = (lists(patch), message::encoded(patch)) {
            merge(listener, value, lists);
        }
    }
    for patch in patches.to(ApplyTo::ListenerFilter, context) {
        if matches_listener(patch, listener) {
            patch_listener_filters(patch, listener);
        }
    }
    let had_chains = has_chains(listener);
    patch_chains(patches, context, listener);
    // Envoy takes no listener from which all chains were removed.
    !had_chains || has_chains(listener)
}

/// How a patch that merges treats lists; `None` if it does not merge.
pub(super) fn lists(patch: &ConfigPatch) -> Option<Lists> {
    match patch.operation {
        PatchOperation::Merge => Some(Lists::Grow),
        PatchOperation::MergeAndReplaceList => Some(Lists::Replace),
        PatchOperation::Add
        | PatchOperation::Remove
        | PatchOperation::InsertBefore
        | PatchOperation::InsertAfter
        | PatchOperation::InsertFirst
        | PatchOperation::Replace => None,
    }
}

fn has_chains(listener: &Listener) -> bool {
    !listener.filter_chains.is_empty() || listener.default_filter_chain.is_some()
}

fn patch_listener_filters(patch: &ConfigPatch, listener: &mut Listener) {
    let wanted = listener_filter_name(patch);
    let is_named = |it: &ListenerFilter| Some(it.name.as_str()) == wanted;
    let Some(lists) = lists(patch) else {
        let named = wanted.map(|_| &is_named as &dyn Fn(&ListenerFilter) -> bool);
        insert::apply(&mut listener.listener_filters, patch, named, end);
        return;
    };
    let Some(value) = message::of::<ListenerFilter>(patch) else {
        return;
    };
    let meant = |it: &&mut ListenerFilter| wanted.is_none() || is_named(it);
    for filter in listener.listener_filters.iter_mut().filter(meant) {
        use listener_filter::ConfigType::TypedConfig;
        if let (Some(TypedConfig(own)), Some(TypedConfig(more))) =
            (&mut filter.config_type, &value.config_type)
        {
            merge_any(own, more, lists);
        }
        if !value.name.is_empty() {
            filter.name.clone_from(&value.name);
        }
    }
}

fn patch_chains(patches: &Patches<'_>, context: PatchContext, listener: &mut Listener) {
    let chains = std::mem::take(&mut listener.filter_chains);
    let default = listener.default_filter_chain.take();
    let listener_itself = &*listener;
    let stays = |mut chain: FilterChain| {
        patch_chain(patches, context, listener_itself, &mut chain).then_some(chain)
    };
    let patched: Vec<_> = chains.into_iter().filter_map(stays).collect();
    let default = default.and_then(stays);
    listener.filter_chains = patched;
    listener.default_filter_chain = default;
    for patch in patches.to(ApplyTo::FilterChain, context) {
        if patch.operation == PatchOperation::Add && matches_listener(patch, listener) {
            listener.filter_chains.extend(message::of(patch));
        }
    }
}

/// Patches a chain; `false` if it goes.
fn patch_chain(
    patches: &Patches<'_>,
    context: PatchContext,
    listener: &Listener,
    chain: &mut FilterChain,
) -> bool {
    for patch in patches.to(ApplyTo::FilterChain, context) {
        if !matches_listener(patch, listener) || !matches_chain(patch, listener, chain) {
            continue;
        }
        if patch.operation == PatchOperation::Remove {
            return false;
        }
        let Some(lists) = lists(patch) else { continue };
        let Some(mut value) = message::of::<FilterChain>(patch) else {
            continue;
        };
        if let Some(socket) = value.transport_socket.take() {
            merge_socket(&mut chain.transport_socket, socket, lists);
        }
        merge(chain, &value.encode_to_vec(), lists);
    }
    filter::patch(patches, context, listener, chain);
    !chain.filters.is_empty()
}

/// Merges what is within a transport socket if it is one of the same name, else takes the new one.
pub(super) fn merge_socket(
    own: &mut Option<TransportSocket>,
    patch: TransportSocket,
    lists: Lists,
) {
    let Some(socket) = own.as_mut().filter(|it| it.name == patch.name) else {
        *own = Some(patch);
        return;
    };
    match (&mut socket.config_type, patch.config_type) {
        (Some(ConfigType::TypedConfig(own)), Some(ConfigType::TypedConfig(more))) => {
            merge_any(own, &more, lists);
        }
        (own @ None, more) => *own = more,
        (Some(_), None) => {}
    }
}
