//! The shape of a type of this crate.
//!
//! In: a type. Out: its [`Schema`], from which the definitions of Istio's kinds for Kubernetes are
//! made. Only the shape is known here; which values are good is `model`'s affair.

use std::cell::RefCell;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// What a value looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Anything: what is not read, or what has a form of its own.
    Any,
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of these.
    List(Box<Self>),
    /// A map from text to these.
    Map(Box<Self>),
    /// These fields, in the order of their definition.
    Object(Vec<(&'static str, Self)>),
}

/// The schema of `T`.
pub fn schema_of<T: DeserializeOwned>() -> Schema {
    let slot = RefCell::new(Schema::Any);
    // A probe answers every question with a value that fits, so the result carries no news.
    let _probed = T::deserialize(Probe { slot: &slot });
    slot.into_inner()
}

/// Answers every question of a type with one value of what it asks for, and notes the question.
#[derive(Clone, Copy)]
struct Probe<'a> {
    slot: &'a RefCell<Schema>,
}

impl Probe<'_> {
    fn note(&self, schema: Schema) {
        self.slot.replace(schema);
    }
}

impl IntoDeserializer<'_, Error> for Probe<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Schema::Boolean);
        visitor.visit_bool(false)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Schema::Integer);
        visitor.visit_i64(0)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Schema::Number);
        visitor.visit_f64(0.0)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.note(Schema::Text);
        visitor.visit_str("")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let item = RefCell::new(Schema::Any);
        let items = [Probe { slot: &item }];
        let value = visitor.visit_seq(SeqDeserializer::new(items.into_iter()));
        self.note(Schema::List(Box::new(item.into_inner())));
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let item = RefCell::new(Schema::Any);
        let items = [("*", Probe { slot: &item })];
        let value = visitor.visit_map(MapDeserializer::new(items.into_iter()));
        self.note(Schema::Map(Box::new(item.into_inner())));
        value
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let slots: Vec<_> = (fields.iter())
            .map(|field| (*field, RefCell::new(Schema::Any)))
            .collect();
        let probes = slots.iter().map(|(field, slot)| (*field, Probe { slot }));
        let value = visitor.visit_map(MapDeserializer::new(probes));
        let known = slots.into_iter();
        let known = known.map(|(field, slot)| (field, slot.into_inner()));
        self.note(Schema::Object(known.collect()));
        value
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Sample {
        some_text: Option<String>,
        numbers: Vec<i64>,
        by_name: std::collections::BTreeMap<String, f64>,
        not_read: Option<serde::de::IgnoredAny>,
    }

    #[test]
    fn a_type_is_taken_apart() {
        let expected = Schema::Object(vec![
            ("someText", Schema::Text),
            ("numbers", Schema::List(Box::new(Schema::Integer))),
            ("byName", Schema::Map(Box::new(Schema::Number))),
            ("notRead", Schema::Any),
        ]);
        assert_eq!(schema_of::<Sample>(), expected);
    }
}
