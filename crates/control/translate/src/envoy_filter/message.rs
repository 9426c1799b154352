//! The values of patches as Envoy's messages.
//!
//! In: protobuf JSON as written. Out: messages; or what is wrong and where, for [`judge`].

use meltemi_model::{ApplyTo, Config, ConfigPatch, FieldPath, PatchOperation, Segment};
use meltemi_xds::json::{JsonError, from_json};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, ListenerFilter};
use meltemi_xds::pb::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use prost::{Message, Name};
use serde_json::Value;

/// What is wrong with the values of an EnvoyFilter's patches; nothing of other resources.
pub(crate) fn judge(config: &Config) -> Vec<(FieldPath, String)> {
    let Config::EnvoyFilter(filter) = config else {
        return Vec::new();
    };
    let at = FieldPath::root().field("spec").field("configPatches");
    let judge = |patch: &ConfigPatch| {
        let value = patch.value.as_ref()?;
        let at = at.index(patch.index).field("patch").field("value");
        match encode(patch.apply_to, value.written()) {
            Err(error) => Some(described(&error, &at)),
            Ok(bytes) => {
                value.encoded(|_| Some(bytes));
                incomplete(patch).map(|what| (at, what.to_owned()))
            }
        }
    };
    filter.patches.iter().filter_map(judge).collect()
}

/// The message that a patch brings.
pub(super) fn of<M: Message + Default>(patch: &ConfigPatch) -> Option<M> {
    M::decode(encoded(patch)?).ok()
}

/// The same in its encoded form.
pub(super) fn encoded(patch: &ConfigPatch) -> Option<&[u8]> {
    let value = patch.value.as_ref()?;
    let encode = |written: &Value| encode(patch.apply_to, written).ok();
    value.encoded(encode).map(AsRef::as_ref)
}

fn encode(apply_to: ApplyTo, value: &Value) -> Result<Vec<u8>, JsonError> {
    fn read<M: Message + Name + Default>(value: &Value) -> Result<Vec<u8>, JsonError> {
        from_json::<M>(value.clone()).map(|it| it.encode_to_vec())
    }
    match apply_to {
        ApplyTo::Listener => read::<Listener>(value),
        ApplyTo::FilterChain => read::<FilterChain>(value),
        ApplyTo::NetworkFilter => read::<Filter>(value),
        ApplyTo::HttpFilter => read::<HttpFilter>(value),
        ApplyTo::RouteConfiguration => read::<RouteConfiguration>(value),
        ApplyTo::VirtualHost => read::<VirtualHost>(value),
        ApplyTo::HttpRoute => read::<Route>(value),
        ApplyTo::Cluster => read::<Cluster>(value),
        ApplyTo::ExtensionConfig => read::<TypedExtensionConfig>(value),
        ApplyTo::ListenerFilter => read::<ListenerFilter>(value),
        ApplyTo::Bootstrap => read::<Bootstrap>(value),
    }
}

/// What Envoy would miss in something that stands for itself.
fn incomplete(patch: &ConfigPatch) -> Option<&'static str> {
    use PatchOperation::{Merge, MergeAndReplaceList, Remove};
    if matches!(patch.operation, Merge | MergeAndReplaceList | Remove) {
        return None;
    }
    let (named, configured) = match patch.apply_to {
        ApplyTo::Listener => (!of::<Listener>(patch)?.name.is_empty(), true),
        ApplyTo::Cluster => (!of::<Cluster>(patch)?.name.is_empty(), true),
        ApplyTo::VirtualHost => (!of::<VirtualHost>(patch)?.name.is_empty(), true),
        ApplyTo::FilterChain => (true, !of::<FilterChain>(patch)?.filters.is_empty()),
        ApplyTo::NetworkFilter => {
            let it: Filter = of(patch)?;
            (!it.name.is_empty(), it.config_type.is_some())
        }
        ApplyTo::HttpFilter => {
            let it: HttpFilter = of(patch)?;
            (!it.name.is_empty(), it.config_type.is_some())
        }
        ApplyTo::ListenerFilter => {
            let it: ListenerFilter = of(patch)?;
            (!it.name.is_empty(), it.config_type.is_some())
        }
        ApplyTo::ExtensionConfig => {
            let it: TypedExtensionConfig = of(patch)?;
            (!it.name.is_empty(), it.typed_config.is_some())
        }
        ApplyTo::RouteConfiguration | ApplyTo::HttpRoute | ApplyTo::Bootstrap => (true, true),
    };
    match (named, configured, patch.apply_to) {
        (false, _, _) => Some("a name is needed"),
        (true, false, ApplyTo::FilterChain) => Some("a chain needs filters"),
        (true, false, _) => Some("a filter needs its typed_config"),
        (true, true, _) => None,
    }
}

/// An error of the JSON with the path in the resource.
fn described(error: &JsonError, at: &FieldPath) -> (FieldPath, String) {
    let path = error.path();
    let text = error.to_string();
    let message = text.strip_prefix(&format!("{path}: ")).unwrap_or(&text);
    let message = if message.starts_with("unknown @type") && message.contains(".v2.") {
        format!("{message}; write the type of Envoy's v3 API")
    } else {
        message.to_owned()
    };
    let segments = at.segments().iter().cloned().chain(segments(path));
    (FieldPath::from_segments(segments.collect()), message)
}

/// The steps of a path such as `a.b[0].c["key"]`.
fn segments(path: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (key, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
            found.push(Segment::Key(key.replace("\\\"", "\"")));
            rest = after;
        } else if let Some(number) = rest.strip_prefix('[') {
            let (index, after) = number.split_once(']').unwrap_or((number, ""));
            found.extend(index.parse().ok().map(Segment::Index));
            rest = after;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            found.push(Segment::Field(name[..end].to_owned()));
            rest = &name[end..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart() {
        let path = r#"filter_chains[0].filters[12].metadata["a.b"].name"#;
        let whole = FieldPath::from_segments(segments(path));
        let again = FieldPath::root()
            .field("filter_chains")
            .index(0)
            .field("filters")
            .index(12)
            .field("metadata")
            .key("a.b")
            .field("name");
        assert_eq!(whole, again);
        assert!(segments("").is_empty());
    }
}
