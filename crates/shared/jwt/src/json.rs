//! JSON objects in which no member stands twice: of two members of one name, one reader takes the
//! first and another the last, so that what was checked is not what is used.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A JSON object.
pub type Object = serde_json::Map<String, Value>;

/// Base64url with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How deep objects and lists may be nested; protobuf's limit.
const DEPTH: usize = 100;

/// Reads base64url.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Reads an object.
pub(crate) fn object(text: &[u8]) -> Option<Object> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Unique(DEPTH).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The value at a path of names with dots between them. A name that itself has dots is found only
/// as a path.
pub fn at_path<'a, 's>(
    object: &'a Object,
    path: impl IntoIterator<Item = &'s str>,
) -> Option<&'a Value> {
    let mut path = path.into_iter();
    let mut value = object.get(path.next()?)?;
    for name in path {
        value = value.as_object()?.get(name)?;
    }
    Some(value)
}

/// A value, and how much deeper it may go.
#[derive(Clone, Copy)]
struct Unique(usize);

impl Unique {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.0.checked_sub(1) {
            Some(depth) => Ok(Self(depth)),
            None => Err(E::custom("too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(serde::de::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}
