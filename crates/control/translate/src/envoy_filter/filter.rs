//! Patches to network filters, and to the HTTP filters within them.
//!
//! In: a filter chain and its listener. Out: the chain patched. Nothing is put behind a filter that
//! Envoy takes as the last one only: what would come to stand there stands before it.

use meltemi_merge::merge_any;
use meltemi_model::{ApplyTo, ConfigPatch, FilterClass, PatchContext, PatchOperation};
use meltemi_xds::any::{is, pack, unpack};
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use meltemi_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use meltemi_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use prost::Message;
use prost_types::Any;

use super::listener::lists;
use super::matching::{filter_name, matches_chain, matches_listener, sub_filter_name};
use super::{Patches, insert, message};

/// Patches what is in a chain.
pub(super) fn patch(
    patches: &Patches<'_>,
    context: PatchContext,
    listener: &Listener,
    chain: &mut FilterChain,
) {
    let here = |patch: &&ConfigPatch| {
        matches_listener(patch, listener) && matches_chain(patch, listener, chain)
    };
    let of_network: Vec<_> = patches
        .to(ApplyTo::NetworkFilter, context)
        .filter(here)
        .collect();
    let of_http: Vec<_> = patches
        .to(ApplyTo::HttpFilter, context)
        .filter(here)
        .collect();
    for patch in &of_network {
        let wanted = filter_name(patch);
        let is_named = |it: &Filter| Some(it.name.as_str()) == wanted;
        let named = wanted.map(|_| &is_named as &dyn Fn(&Filter) -> bool);
        insert::apply(&mut chain.filters, patch, named, |list| {
            before_last(list, is_terminal)
        });
    }
    for filter in &mut chain.filters {
        for patch in &of_network {
            if names(filter_name(patch), &filter.name) {
                merge_filter(patch, filter);
            }
        }
        patch_http_filters(&of_http, filter);
    }
}

fn names(wanted: Option<&str>, name: &str) -> bool {
    wanted.is_none_or(|it| it == name)
}

/// A filter of either sort: a name and a configuration.
trait Named: Message + Default {
    fn parts(&mut self) -> (&mut String, Option<&mut Any>);
}

impl Named for Filter {
    fn parts(&mut self) -> (&mut String, Option<&mut Any>) {
        let config = match &mut self.config_type {
            Some(filter::ConfigType::TypedConfig(config)) => Some(config),
            Some(filter::ConfigType::ConfigDiscovery(_)) | None => None,
        };
        (&mut self.name, config)
    }
}

impl Named for HttpFilter {
    fn parts(&mut self) -> (&mut String, Option<&mut Any>) {
        let config = match &mut self.config_type {
            Some(http_filter::ConfigType::TypedConfig(config)) => Some(config),
            Some(http_filter::ConfigType::ConfigDiscovery(_)) | None => None,
        };
        (&mut self.name, config)
    }
}

/// Merges the value of a patch into a filter.
fn merge_filter<F: Named>(patch: &ConfigPatch, filter: &mut F) {
    let Some(lists) = lists(patch) else { return };
    let Some(mut value) = message::of::<F>(patch) else {
        return;
    };
    let (name, config) = filter.parts();
    let (new_name, more) = value.parts();
    if let (Some(own), Some(more)) = (config, more) {
        merge_any(own, more, lists);
    }
    if !new_name.is_empty() {
        name.clone_from(new_name);
    }
}

fn patch_http_filters(patches: &[&ConfigPatch], filter: &mut Filter) {
    let patches: Vec<_> = patches
        .iter()
        .filter(|it| names(filter_name(it), &filter.name))
        .collect();
    let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        return;
    };
    if patches.is_empty() || !is::<HttpConnectionManager>(any) {
        return;
    }
    let Ok(mut manager) = unpack::<HttpConnectionManager>(any) else {
        return;
    };
    for patch in &patches {
        insert_http_filter(patch, &mut manager.http_filters);
    }
    for filter in &mut manager.http_filters {
        for patch in &patches {
            if names(sub_filter_name(patch), &filter.name) {
                merge_filter(patch, filter);
            }
        }
    }
    *any = pack(&manager);
}

fn insert_http_filter(patch: &ConfigPatch, filters: &mut Vec<HttpFilter>) {
    let by_class = match patch.filter_class {
        FilterClass::Unspecified => None,
        FilterClass::Authn => Some(after_authentication(filters)),
        FilterClass::Authz => Some(after_authorization(filters)),
        FilterClass::Stats => Some(before_statistics(filters)),
    };
    if let (PatchOperation::Add, Some(at), Some(value)) =
        (patch.operation, by_class, message::of(patch))
    {
        filters.insert(at, value);
        return;
    }
    let wanted = sub_filter_name(patch);
    let is_named = |it: &HttpFilter| Some(it.name.as_str()) == wanted;
    let named = wanted.map(|_| &is_named as &dyn Fn(&HttpFilter) -> bool);
    insert::apply(filters, patch, named, |list| before_last(list, is_router));
}

/// Where the end of a list is for those that come before a last one.
fn before_last<T>(list: &[T], has_to_be_last: impl Fn(&T) -> bool) -> usize {
    match list.last() {
        Some(last) if has_to_be_last(last) => list.len() - 1,
        Some(_) | None => list.len(),
    }
}

fn is_terminal(filter: &Filter) -> bool {
    match &filter.config_type {
        Some(filter::ConfigType::TypedConfig(any)) => {
            is::<HttpConnectionManager>(any) || is::<TcpProxy>(any)
        }
        Some(filter::ConfigType::ConfigDiscovery(_)) | None => false,
    }
}

fn is_router(filter: &HttpFilter) -> bool {
    match &filter.config_type {
        Some(http_filter::ConfigType::TypedConfig(any)) => is::<Router>(any),
        Some(http_filter::ConfigType::ConfigDiscovery(_)) | None => false,
    }
}

fn behind(filters: &[HttpFilter], names: &[&str]) -> Option<usize> {
    let last = filters
        .iter()
        .rposition(|it| names.contains(&it.name.as_str()));
    last.map(|at| at + 1)
}

fn after_authentication(filters: &[HttpFilter]) -> usize {
    behind(filters, &["envoy.filters.http.jwt_authn", "istio_authn"]).unwrap_or(0)
}

fn after_authorization(filters: &[HttpFilter]) -> usize {
    let names = ["envoy.filters.http.rbac", "envoy.filters.http.ext_authz"];
    behind(filters, &names).unwrap_or_else(|| after_authentication(filters))
}

fn before_statistics(filters: &[HttpFilter]) -> usize {
    let statistics = filters.iter().position(|it| it.name == "istio.stats");
    statistics.unwrap_or_else(|| before_last(filters, is_router))
}
