//! Configuration of extensions by name.
//!
//! In: filters that ask for their configuration by discovery, and the EXTENSION_CONFIG patches. Out:
//! the same filters with the configuration in its place: what is discovered with the listener needs
//! no discovery of its own. A filter of which nothing is known gets its default configuration if it
//! has one, and is left out otherwise, since a listener that waits for it would never serve.

use meltemi_model::ApplyTo;
use meltemi_xds::any::{is, pack, unpack};
use meltemi_xds::pb::envoy::config::core::v3::{
    ExtensionConfigSource, TypedExtensionConfig, config_source::ConfigSourceSpecifier,
};
use meltemi_xds::pb::envoy::config::listener::v3::{
    FilterChain, Listener, filter, listener_filter,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use prost_types::Any;

use super::{Patches, message};

/// Puts configurations in their places.
pub(super) fn inline(patches: &Patches<'_>, listener: &mut Listener) {
    let known: Vec<TypedExtensionConfig> = patches
        .by_kind
        .get(&ApplyTo::ExtensionConfig)
        .into_iter()
        .flatten()
        .filter_map(|it| message::of(it))
        .collect();
    listener.listener_filters.retain_mut(|filter| {
        use listener_filter::ConfigType::{ConfigDiscovery, TypedConfig};
        let Some(ConfigDiscovery(source)) = &filter.config_type else {
            return true;
        };
        match found(&known, &filter.name, source) {
            Found::Elsewhere => true,
            Found::Nothing => false,
            Found::Here(any) => {
                filter.config_type = Some(TypedConfig(any));
                true
            }
        }
    });
    let default = listener.default_filter_chain.as_mut();
    for chain in listener.filter_chains.iter_mut().chain(default) {
        inline_chain(&known, chain);
    }
}

/// What there is for a filter that asks.
enum Found {
    /// It asks somebody else.
    Elsewhere,
    /// Nothing.
    Nothing,
    /// This.
    Here(Any),
}

fn found(known: &[TypedExtensionConfig], name: &str, source: &ExtensionConfigSource) -> Found {
    let from = source.config_source.as_ref();
    let from = from.and_then(|it| it.config_source_specifier.as_ref());
    if !matches!(
        from,
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_))
    ) {
        return Found::Elsewhere;
    }
    let named = known.iter().find(|it| it.name == name);
    let config = named.and_then(|it| it.typed_config.clone());
    match config.or_else(|| source.default_config.clone()) {
        Some(any) => Found::Here(any),
        None => Found::Nothing,
    }
}

fn inline_chain(known: &[TypedExtensionConfig], chain: &mut FilterChain) {
    use filter::ConfigType::{ConfigDiscovery, TypedConfig};
    chain
        .filters
        .retain_mut(|filter| match &mut filter.config_type {
            Some(ConfigDiscovery(source)) => match found(known, &filter.name, source) {
                Found::Elsewhere => true,
                Found::Nothing => false,
                Found::Here(any) => {
                    filter.config_type = Some(TypedConfig(any));
                    true
                }
            },
            Some(TypedConfig(any)) if is::<HttpConnectionManager>(any) => {
                inline_http(known, any);
                true
            }
            Some(TypedConfig(_)) | None => true,
        });
}

fn inline_http(known: &[TypedExtensionConfig], any: &mut Any) {
    use http_filter::ConfigType::{ConfigDiscovery, TypedConfig};
    let Ok(mut manager) = unpack::<HttpConnectionManager>(any) else {
        return;
    };
    let asks = |it: &Option<http_filter::ConfigType>| matches!(it, Some(ConfigDiscovery(_)));
    if !manager.http_filters.iter().any(|it| asks(&it.config_type)) {
        return;
    }
    manager.http_filters.retain_mut(|filter| {
        let Some(ConfigDiscovery(source)) = &filter.config_type else {
            return true;
        };
        match found(known, &filter.name, source) {
            Found::Elsewhere => true,
            Found::Nothing => false,
            Found::Here(any) => {
                filter.config_type = Some(TypedConfig(any));
                true
            }
        }
    });
    *any = pack(&manager);
}
