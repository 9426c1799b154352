//! Extensions: messages inside `google.protobuf.Any`, found by their type, or by a well-known name
//! where Envoy lets the type be left out.

use meltemi_xds::pb::{udpa, xds};
use meltemi_xds::{any, json};
use prost::{Message, Name};
use prost_types::Any;
use serde_json::Value as Json;

use crate::fields::fields;
use crate::path::At;

/// An extension that the proxy has.
pub(crate) struct Known<F> {
    /// The name that stands for it where `typed_config` is left out; empty for none.
    pub(crate) name: &'static str,
    /// The full name of its configuration message.
    pub(crate) type_name: &'static str,
    /// What converts it.
    pub(crate) convert: F,
}

/// An extension as a configuration refers to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its configuration, if given.
    pub(crate) config: Option<&'a Any>,
}

impl Extension<'_> {
    /// Whether it is one of those that the proxy has.
    pub(crate) fn is_among<F>(&self, known: &[Known<F>]) -> bool {
        known.iter().any(|known| match self.config {
            None => known.name == self.name,
            Some(config) => known.type_name == inner_type(config),
        })
    }

    /// Finds it among those that the proxy has; `at` is the message that refers to it.
    pub(crate) fn find<'k, F>(&self, known: &'k [Known<F>], at: &At<'_>) -> Option<&'k Known<F>> {
        let at_config = &at.field("typed_config");
        match self.config {
            None => {
                let found = known
                    .iter()
                    .find(|known| !known.name.is_empty() && known.name == self.name);
                if found.is_none() {
                    at_config.problem(format_args!(
                        "is missing, and no extension is called {:?}",
                        self.name
                    ));
                }
                found
            }
            Some(config) => {
                let name = inner_type(config);
                let found = known.iter().find(|known| known.type_name == name);
                if found.is_none() {
                    at_config.problem(format_args!("type {name} is not supported"));
                }
                found
            }
        }
    }
}

/// The full name of the message inside, seen through a `TypedStruct`.
pub(crate) fn inner_type(config: &Any) -> String {
    let outer = any::type_name(&config.type_url);
    let inner = if any::is::<xds::r#type::v3::TypedStruct>(config) {
        any::unpack(config).map(|inner: xds::r#type::v3::TypedStruct| inner.type_url)
    } else if any::is::<udpa::r#type::v1::TypedStruct>(config) {
        any::unpack(config).map(|inner: udpa::r#type::v1::TypedStruct| inner.type_url)
    } else {
        return outer.to_owned();
    };
    match inner {
        Ok(url) => any::type_name(&url).to_owned(),
        Err(_) => outer.to_owned(),
    }
}

/// The message inside; its default where `typed_config` is left out. `at` is the `Any`.
pub(crate) fn unpack<M>(config: Option<&Any>, at: &At<'_>) -> Option<M>
where
    M: Message + Name + Default,
{
    let Some(config) = config else {
        return Some(M::default());
    };
    let value = match typed_struct(config, at) {
        Ok(Some(value)) => value,
        Ok(None) => {
            return any::unpack(config)
                .inspect_err(|error| at.problem(error))
                .ok();
        }
        Err(error) => {
            at.problem(error);
            return None;
        }
    };
    json::from_json(value)
        .inspect_err(|error| at.field("value").problem(error))
        .ok()
}

/// The untyped fields inside a `TypedStruct`; none where the message is not one.
fn typed_struct(config: &Any, at: &At<'_>) -> Result<Option<Json>, any::UnpackError> {
    let mut whole = if any::is::<xds::r#type::v3::TypedStruct>(config) {
        let inner: xds::r#type::v3::TypedStruct = any::unpack(config)?;
        fields!(at, &inner, xds::r#type::v3::TypedStruct { honoured { type_url, value } });
        // The type was looked at to find the extension; the value is printed with the whole.
        let _ = (type_url, value);
        json::to_json(&inner)
    } else if any::is::<udpa::r#type::v1::TypedStruct>(config) {
        let inner: udpa::r#type::v1::TypedStruct = any::unpack(config)?;
        fields!(at, &inner, udpa::r#type::v1::TypedStruct { honoured { type_url, value } });
        let _ = (type_url, value);
        json::to_json(&inner)
    } else {
        return Ok(None);
    };
    let value = whole.get_mut("value").map(Json::take);
    Ok(Some(
        value.unwrap_or_else(|| Json::Object(Default::default())),
    ))
}

/// Takes a message apart that has no field that matters.
macro_rules! empty_message {
    ($name:ident, $type:path) => {
        /// Checks the configuration of an extension that has no settings.
        pub(crate) fn $name(
            config: Option<&prost_types::Any>,
            at: &$crate::path::At<'_>,
        ) -> Option<()> {
            let message: $type = $crate::extension::unpack(config, at)?;
            $crate::fields::fields!(at, &message, $type {});
            Some(())
        }
    };
}

pub(crate) use empty_message;
