//! The names of fields, looked up as they are read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

use super::schema::{Field, MessageType};

/// The name of a field, as it was written.
pub enum Name {
    /// One of the message's, and its name.
    Known(&'static Field, &'static str),
    /// None of them.
    Unknown(String),
}

impl Name {
    /// The field of a message that is called so, if there is one.
    pub fn of(message: &'static MessageType, name: &str) -> Self {
        match message.field(name) {
            Some((field, name)) => Self::Known(field, name),
            None => Self::Unknown(name.to_owned()),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        match self {
            Self::Known(_, name) => name,
            Self::Unknown(name) => name,
        }
    }
}

/// Reads the name of a field.
pub struct NameSeed(pub &'static MessageType);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name::of(self.0, name))
    }
}
