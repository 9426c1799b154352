//! JSON to messages, in one pass: what a deserializer tells is encoded as it is told, with neither
//! a tree of values nor one of messages between. Stops at the first value that does not fit and
//! says where it is.
//!
//! In: any `serde` deserializer that describes itself, of JSON or of YAML. Out: the encoded message.

use std::fmt;
use std::str::FromStr;

use prost_types::{Duration, Timestamp};
use serde::Deserialize as _;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::JsonError;
use super::known::{self, WellKnown};
use super::name::{Name, NameSeed};
use super::path::{FieldPath, Segment};
use super::scalar::{self, Scalar};
use super::schema::{EnumType, Field, Kind, MessageType, Shape};
use super::slot::{A_LIST, AN_OBJECT, Slot, described, is_null_value, shown, takes_null};
use super::wire::{Encoded, Writer};
use crate::any::type_name;

/// prost decodes no deeper than this.
const MAX_DEPTH: usize = 100;

/// How many messages deep one level of a `Struct` is: a `Struct`, a map entry and a `Value`.
const DEPTH_OF_STRUCT: usize = 3;

/// Why a document is not read.
#[derive(Debug)]
pub enum Failure<E> {
    /// A value does not fit.
    Value(JsonError),
    /// The document is malformed.
    Document(E),
}

/// Reads one document.
#[derive(Default)]
pub struct Reader {
    writer: Writer,
    path: FieldPath,
    /// The fields that the messages around the present place have so far, innermost last.
    given: Vec<Given>,
    /// How many of them are of messages further out.
    outer: usize,
    problem: Option<JsonError>,
}

/// A field that was given.
struct Given {
    field: &'static Field,
    /// As it was written.
    name: &'static str,
    /// Where its encoding begins.
    start: usize,
}

impl Reader {
    /// Reads a message, a well-known one in its own form; answers with its encoding.
    pub fn read<'de, D: Deserializer<'de>>(
        mut self,
        message: &'static MessageType,
        deserializer: D,
    ) -> Result<Vec<u8>, Failure<D::Error>> {
        match self.at(Slot::Bare(message)).deserialize(deserializer) {
            Ok(_) => Ok(self.writer.into_bytes()),
            Err(error) => Err(match self.problem {
                Some(problem) => Failure::Value(problem),
                None => Failure::Document(error),
            }),
        }
    }

    fn at(&mut self, slot: Slot) -> Seed<'_> {
        Seed { reader: self, slot }
    }

    fn fail<E: serde::de::Error>(&mut self, problem: JsonError) -> E {
        self.problem.get_or_insert(problem);
        E::custom("a value that does not fit")
    }

    fn mismatch(&self, expected: impl Into<String>, found: impl Into<String>) -> JsonError {
        JsonError::Mismatch {
            path: self.path.to_text(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// Runs `read` one step further in.
    fn inside<T, E: serde::de::Error>(
        &mut self,
        segment: Segment<'_>,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.path.push(segment);
        if self.path.depth() > MAX_DEPTH {
            let path = self.path.to_text();
            return Err(self.fail(JsonError::TooDeep { path }));
        }
        let result = read(self)?;
        self.path.pop(before);
        Ok(result)
    }

    /// Writes one value where it belongs.
    fn write(&mut self, slot: Slot, value: &Encoded<'_>) {
        match slot {
            Slot::Element(field) if field.shape == Shape::Packed => self.writer.value(value),
            Slot::Field(field) | Slot::Entry(field)
                if field.shape == Shape::Implicit && value.is_default() => {}
            Slot::Field(field) | Slot::Element(field) | Slot::Entry(field) => {
                self.writer.field(field.number, value);
            }
            Slot::Bare(_) => {}
        }
    }

    /// Reads a value that is neither an object nor a list.
    fn scalar(&mut self, slot: Slot, value: &Scalar<'_>) -> Result<Presence, JsonError> {
        let kind = match slot {
            Slot::Bare(message) => {
                self.scalar_message(message, value)?;
                return Ok(Presence::Given);
            }
            Slot::Field(field) if *value == Scalar::Null && !takes_null(field) => {
                return Ok(Presence::Absent);
            }
            Slot::Field(field) if field.shape == Shape::Map || field.shape.is_list() => {
                return Err(self.mismatch(slot.expected(), value.shown()));
            }
            Slot::Field(field) | Slot::Element(field) | Slot::Entry(field) => field.kind,
        };
        match (kind.message(), kind.enumeration()) {
            (Some(message), _) => {
                let open = self.writer.open(slot.number());
                self.scalar_message(message, value)?;
                self.writer.close(open);
            }
            (_, Some(enumeration)) => {
                let number = self.enum_value(enumeration, value)?;
                self.write(slot, &scalar::signed(number.into()));
            }
            (None, None) => match value.encode(kind) {
                Some(encoded) => self.write(slot, &encoded),
                None => return Err(self.mismatch(slot.expected(), value.shown())),
            },
        }
        Ok(Presence::Given)
    }

    fn enum_value(
        &self,
        enumeration: &'static EnumType,
        value: &Scalar<'_>,
    ) -> Result<i32, JsonError> {
        match value {
            Scalar::Null if is_null_value(enumeration) => Ok(0),
            Scalar::Text(name) => {
                enumeration
                    .number(name)
                    .ok_or_else(|| JsonError::UnknownEnumValue {
                        path: self.path.to_text(),
                        value: (*name).to_owned(),
                        enumeration: enumeration.name().to_owned(),
                    })
            }
            number => number.integer().ok_or_else(|| {
                let expected = format!("a value of {}", enumeration.name());
                self.mismatch(expected, number.shown())
            }),
        }
    }

    /// Writes the content of a message that is written as a single value.
    fn scalar_message(
        &mut self,
        message: &'static MessageType,
        value: &Scalar<'_>,
    ) -> Result<(), JsonError> {
        match WellKnown::named(message.name()) {
            Some(WellKnown::Wrapper) => {
                let (field, _) = message.field("value").expect("wrappers have one");
                match value.encode(field.kind) {
                    Some(encoded) => self.write(Slot::Entry(field), &encoded),
                    None => {
                        return Err(self.mismatch(scalar::expected(field.kind), value.shown()));
                    }
                }
            }
            Some(WellKnown::Duration) => self.parsed::<Duration>(message, value)?,
            Some(WellKnown::Timestamp) => self.parsed::<Timestamp>(message, value)?,
            Some(WellKnown::Value) => self.tree(WellKnown::Value, value.to_value())?,
            _ => return Err(self.mismatch(described(message), value.shown())),
        }
        Ok(())
    }

    /// Writes a message that is written as a string.
    fn parsed<M: prost::Message + FromStr>(
        &mut self,
        message: &'static MessageType,
        value: &Scalar<'_>,
    ) -> Result<(), JsonError> {
        let parsed = value.text().and_then(|text| M::from_str(text).ok());
        match parsed {
            Some(parsed) => self.writer.raw(&parsed.encode_to_vec()),
            None => return Err(self.mismatch(described(message), value.shown())),
        }
        Ok(())
    }

    /// Writes what may be any JSON.
    fn tree(&mut self, known: WellKnown, value: Value) -> Result<(), JsonError> {
        if self.path.depth() + DEPTH_OF_STRUCT * known::depth(&value) > MAX_DEPTH {
            return Err(JsonError::TooDeep {
                path: self.path.to_text(),
            });
        }
        self.writer.raw(&known::encode_tree(known, value));
        Ok(())
    }

    fn map_key(&mut self, field: &'static Field, key: &str) -> Result<MapKey, JsonError> {
        let value = match (field.kind, key) {
            (Kind::Bool, "true") => Scalar::Bool(true),
            (Kind::Bool, "false") => Scalar::Bool(false),
            _ => Scalar::Text(key),
        };
        let Some(encoded) = value.encode(field.kind) else {
            return Err(self.mismatch(scalar::expected(field.kind), value.shown()));
        };
        self.write(Slot::Entry(field), &encoded);
        Ok(match field.kind {
            Kind::String => MapKey::Text(key.to_owned()),
            _ => MapKey::Number(value.integer().unwrap_or(key == "true").into()),
        })
    }

    /// Reads a list of a field's values.
    fn list<'de, A: SeqAccess<'de>>(
        &mut self,
        field: &'static Field,
        mut values: A,
    ) -> Result<(), A::Error> {
        let open = (field.shape == Shape::Packed).then(|| self.writer.open(field.number));
        for index in 0.. {
            let element = self.inside(Segment::Index(index), |reader| {
                values.next_element_seed(reader.at(Slot::Element(field)))
            })?;
            if element.is_none() {
                break;
            }
        }
        if let Some(open) = open {
            self.writer.close_unless_empty(open);
        }
        Ok(())
    }

    /// Reads the entries of a map.
    fn entries<'de, A: MapAccess<'de>>(
        &mut self,
        field: &'static Field,
        mut entries: A,
    ) -> Result<(), A::Error> {
        let entry = field.kind.message().expect("maps are of entries");
        let (key_field, _) = entry.field("key").expect("entries have keys");
        let (value_field, _) = entry.field("value").expect("entries have values");
        let start = self.writer.len();
        let mut pieces = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let at = self.writer.len();
            let key = self.inside(Segment::Key(&key), |reader| {
                let open = reader.writer.open(field.number);
                let sorted = match reader.map_key(key_field, &key) {
                    Ok(sorted) => sorted,
                    Err(problem) => return Err(reader.fail(problem)),
                };
                entries.next_value_seed(reader.at(Slot::Entry(value_field)))?;
                reader.writer.close(open);
                Ok(sorted)
            })?;
            pieces.push((key, at));
        }
        self.writer.sort_by(start, &pieces);
        Ok(())
    }

    /// Reads the content of a message from an object.
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        message: &'static MessageType,
        fields: A,
    ) -> Result<(), A::Error> {
        match WellKnown::named(message.name()) {
            None => self.message(|reader| reader.members(message, fields)),
            Some(WellKnown::Any) => self.any(fields),
            Some(known @ (WellKnown::Struct | WellKnown::Value)) => {
                let value = Value::deserialize(MapAccessDeserializer::new(fields))?;
                let written = self.tree(known, value);
                written.map_err(|problem| self.fail(problem))
            }
            Some(_) => {
                let problem = self.mismatch(described(message), AN_OBJECT);
                Err(self.fail(problem))
            }
        }
    }

    /// Runs `read` for the fields of a message and puts them in order.
    fn message<E>(&mut self, read: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let outer = std::mem::replace(&mut self.outer, self.given.len());
        let start = self.writer.len();
        read(self)?;
        let given = &self.given[self.outer..];
        if !given.is_sorted_by_key(|given| given.field.number) {
            let pieces = given.iter().map(|given| (given.field.number, given.start));
            self.writer.sort_by(start, &pieces.collect::<Vec<_>>());
        }
        self.given.truncate(self.outer);
        self.outer = outer;
        Ok(())
    }

    fn members<'de, A: MapAccess<'de>>(
        &mut self,
        message: &'static MessageType,
        mut fields: A,
    ) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key_seed(NameSeed(message))? {
            fields.next_value_seed(self.member(message, name))?;
        }
        Ok(())
    }

    fn member(&mut self, message: &'static MessageType, name: Name) -> Member<'_> {
        Member {
            reader: self,
            message,
            name,
        }
    }

    /// Reads an `Any`: the fields of the message inside, and `@type`. What comes before `@type`
    /// waits for it in a tree.
    fn any<'de, A: MapAccess<'de>>(&mut self, mut fields: A) -> Result<(), A::Error> {
        let mut waiting: Vec<(String, Value)> = Vec::new();
        let url = loop {
            match fields.next_key::<String>()? {
                Some(key) if key == "@type" => break fields.next_value::<Value>()?,
                Some(key) => waiting.push((key, fields.next_value()?)),
                None if waiting.is_empty() => return Ok(()),
                None => {
                    let path = self.path.to_text();
                    return Err(self.fail(JsonError::MissingType { path }));
                }
            }
        };
        let Value::String(url) = url else {
            let problem = self.mismatch("a type URL in @type", shown(&url));
            return Err(self.fail(problem));
        };
        let Some(message) = MessageType::named(type_name(&url)) else {
            let path = self.path.to_text();
            return Err(self.fail(JsonError::UnknownType { path, url }));
        };
        self.writer.field(1, &Encoded::Bytes(url.as_bytes().into()));
        let open = self.writer.open(2);
        self.message(|reader| {
            for (key, value) in waiting {
                let name = Name::of(message, &key);
                // what is wrong was noted
                let read = reader.member(message, name).deserialize(value);
                read.map_err(A::Error::custom)?;
            }
            reader.members(message, fields)
        })?;
        self.writer.close_unless_empty(open);
        Ok(())
    }

    /// Notes that a field is given, unless it cannot be.
    fn give(&mut self, given: Given) -> Result<(), JsonError> {
        let path = || self.path.to_text();
        for earlier in &self.given[self.outer..] {
            if std::ptr::eq(earlier.field, given.field) {
                return Err(JsonError::Duplicate {
                    path: path(),
                    other: earlier.name.to_owned(),
                });
            }
            if let Some(oneof) = given.field.oneof()
                && earlier.field.oneof() == Some(oneof)
            {
                return Err(JsonError::OneofConflict {
                    path: path(),
                    other: earlier.name.to_owned(),
                    oneof: oneof.to_owned(),
                });
            }
        }
        self.given.push(given);
        Ok(())
    }
}

/// The key of a map's entry, as entries are sorted by it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MapKey {
    Number(i128),
    Text(String),
}

/// Reads the value of a name among the fields of a message.
struct Member<'r> {
    reader: &'r mut Reader,
    message: &'static MessageType,
    name: Name,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self {
            reader,
            message,
            name,
        } = self;
        reader.inside(Segment::Field(name.text()), |reader| {
            // Inside an `Any`, a message whose JSON is not an object of its fields is in `value`.
            if WellKnown::named(message.name()).is_some() && name.text() == "value" {
                reader.at(Slot::Bare(message)).deserialize(deserializer)?;
                return Ok(());
            }
            let Name::Known(field, name) = name else {
                let (path, message) = (reader.path.to_text(), message.name().to_owned());
                return Err(reader.fail(JsonError::UnknownField { path, message }));
            };
            let start = reader.writer.len();
            let presence = reader.at(Slot::Field(field)).deserialize(deserializer)?;
            if presence == Presence::Absent {
                return Ok(());
            }
            let given = reader.give(Given { field, name, start });
            given.map_err(|problem| reader.fail(problem))
        })
    }
}

/// Whether there was a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Given,
    Absent,
}

/// Reads a value as what a slot takes.
struct Seed<'r> {
    reader: &'r mut Reader,
    slot: Slot,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Presence;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn scalar<E: serde::de::Error>(self, value: &Scalar<'_>) -> Result<Presence, E> {
        let read = self.reader.scalar(self.slot, value);
        read.map_err(|problem| self.reader.fail(problem))
    }

    fn mismatch<E: serde::de::Error>(self, found: &str) -> E {
        let problem = self.reader.mismatch(self.slot.expected(), found);
        self.reader.fail(problem)
    }

    /// Reads the content of a message, with a tag and a length before it where they belong.
    fn content<E>(self, read: impl FnOnce(&mut Reader) -> Result<(), E>) -> Result<Presence, E> {
        match self.slot {
            Slot::Bare(_) => read(self.reader)?,
            slot => {
                let open = self.reader.writer.open(slot.number());
                read(self.reader)?;
                self.reader.writer.close(open);
            }
        }
        Ok(Presence::Given)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Presence;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.slot.expected())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Presence, E> {
        self.scalar(&Scalar::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Presence, E> {
        self.scalar(&Scalar::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Presence, E> {
        self.scalar(&Scalar::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Presence, E> {
        self.scalar(&Scalar::of_float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Presence, E> {
        self.scalar(&Scalar::Text(value))
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Presence, E> {
        self.scalar(&Scalar::Null)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Presence, E> {
        self.scalar(&Scalar::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Presence, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Presence, A::Error> {
        match self.slot {
            Slot::Field(field) if field.shape.is_list() => {
                self.reader.list(field, values)?;
                return Ok(Presence::Given);
            }
            Slot::Field(field) if field.shape == Shape::Map => return Err(self.mismatch(A_LIST)),
            _ => {}
        }
        let message = self.slot.message().map(MessageType::name);
        match message.and_then(WellKnown::named) {
            Some(known @ (WellKnown::List | WellKnown::Value)) => self.content(|reader| {
                let value = Value::deserialize(SeqAccessDeserializer::new(values))?;
                let written = reader.tree(known, value);
                written.map_err(|problem| reader.fail(problem))
            }),
            _ => Err(self.mismatch(A_LIST)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Presence, A::Error> {
        match (self.slot, self.slot.message()) {
            (Slot::Field(field), _) if field.shape == Shape::Map => {
                self.reader.entries(field, fields)?;
                Ok(Presence::Given)
            }
            (Slot::Field(field), _) if field.shape.is_list() => Err(self.mismatch(AN_OBJECT)),
            (_, Some(message)) => self.content(|reader| reader.object(message, fields)),
            (_, None) => Err(self.mismatch(AN_OBJECT)),
        }
    }
}
