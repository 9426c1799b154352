//! The fields that a type of this crate has.
//!
//! In: a type. Out: the paths of all its fields, lists as `[]` and maps as `[*]`. The support table
//! of `model` is checked against it, so that no field is left out.

use std::cell::RefCell;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The paths of every field of `T` below `prefix`, in the order of its definition.
pub fn field_paths<T: DeserializeOwned>(prefix: &str) -> Vec<String> {
    let paths = RefCell::new(Vec::new());
    // A probe answers every question with a value that fits, so the result carries no news.
    let _probed = T::deserialize(Probe {
        path: prefix.to_owned(),
        paths: &paths,
    });
    paths.into_inner()
}

/// Answers every question of a type with one value of what it asks for, and notes field names.
struct Probe<'a> {
    path: String,
    paths: &'a RefCell<Vec<String>>,
}

impl Probe<'_> {
    fn below(&self, step: &str) -> Self {
        Self {
            path: format!("{}{step}", self.path),
            paths: self.paths,
        }
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
        visitor.visit_i64(0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(false)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("")
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new([self.below("[]")].into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new([("*", self.below("[*]"))].into_iter()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let probes = fields.iter().map(|field| {
            let probe = self.below(&format!("{dot}{field}"));
            self.paths.borrow_mut().push(probe.path.clone());
            (*field, probe)
        });
        visitor.visit_map(MapDeserializer::new(probes))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct enum identifier
    }
}
