//! A document as `serde` reads it.

use std::borrow::Cow;
use std::iter::{Flatten, Peekable};
use std::vec::IntoIter;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Document, Event};

/// The steps that are left; a piece of them goes when it is passed.
type Steps<'de> = Peekable<Flatten<IntoIter<Vec<Event<'de>>>>>;

/// What a visitor says of a document.
pub(crate) type Error = serde::de::value::Error;

impl<'de> Deserializer<'de> for Document<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut events: Steps<'de> = self.events.pieces.into_iter().flatten().peekable();
        Node(&mut events).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// The value that comes next.
struct Node<'e, 'de>(&'e mut Steps<'de>);

impl<'de> Deserializer<'de> for Node<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.next() {
            Some(Event::Null) => visitor.visit_unit(),
            Some(Event::Bool(value)) => visitor.visit_bool(value),
            Some(Event::Integer(value)) => visitor.visit_i64(value),
            Some(Event::Float(value)) => visitor.visit_f64(value),
            Some(Event::Text(Cow::Borrowed(text))) => visitor.visit_borrowed_str(text),
            Some(Event::Text(Cow::Owned(text))) => visitor.visit_string(text),
            Some(Event::Mapping) => visitor.visit_map(Children(self.0)),
            Some(Event::Sequence) => visitor.visit_seq(Children(self.0)),
            Some(Event::End) | None => Err(Error::custom("the document ends early")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// What is inside a mapping or a sequence.
struct Children<'e, 'de>(&'e mut Steps<'de>);

impl<'de> Children<'_, 'de> {
    /// Whether there is nothing more; if so, the end is passed.
    fn is_over(&mut self) -> bool {
        let is_over = matches!(self.0.peek(), Some(Event::End) | None);
        if is_over {
            self.0.next();
        }
        is_over
    }
}

impl<'de> SeqAccess<'de> for Children<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.is_over() {
            return Ok(None);
        }
        seed.deserialize(Node(self.0)).map(Some)
    }
}

impl<'de> MapAccess<'de> for Children<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.is_over() {
            return Ok(None);
        }
        seed.deserialize(Node(self.0)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Node(self.0))
    }
}
