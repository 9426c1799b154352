//! Lists of thousands of messages, decoded one at a time.
//!
//! A message enters encoded, and leaves without the elements of one of its lists, which lie beside
//! it, encoded as they were. Decoded together they would take ten times as much, in one piece, and
//! the allocator keeps room for the largest piece that it was ever given back.

use prost::Message;

use crate::path::At;

/// The wire type of whatever has a length.
const LENGTH_DELIMITED: u64 = 2;

/// A message without the elements of one of its lists.
#[derive(Debug, PartialEq)]
pub(crate) struct Pieces<'m> {
    /// What is left, encoded.
    pub(crate) rest: Vec<u8>,
    /// The elements, encoded, in order.
    pub(crate) taken: Vec<&'m [u8]>,
}

impl<'m> Pieces<'m> {
    /// Takes the list at `path`, a field's number at each step, out of an encoded message; nothing
    /// where the encoding is malformed, as decoding the whole of it will tell.
    pub(crate) fn take_out(message: &'m [u8], path: &[u64]) -> Option<Self> {
        let mut pieces = Self {
            rest: Vec::new(),
            taken: Vec::new(),
        };
        pieces.walk(message, path)?;
        Some(pieces)
    }

    fn walk(&mut self, mut message: &'m [u8], path: &[u64]) -> Option<()> {
        let (first, inside) = path.split_first()?;
        while !message.is_empty() {
            let field = message;
            let tag = varint(&mut message)?;
            let content = match tag & 7 {
                0 => varint(&mut message).map(|_| &[][..])?,
                1 => take(&mut message, 8)?,
                LENGTH_DELIMITED => {
                    let length = varint(&mut message)?;
                    take(&mut message, usize::try_from(length).ok()?)?
                }
                5 => take(&mut message, 4)?,
                _ => return None,
            };
            if tag != first << 3 | LENGTH_DELIMITED {
                let whole = field.len() - message.len();
                self.rest.extend_from_slice(&field[..whole]);
            } else if inside.is_empty() {
                self.taken.push(content);
            } else {
                self.nested(tag, content, inside)?;
            }
        }
        Some(())
    }

    /// Writes a message within the message, without what is taken out of it.
    fn nested(&mut self, tag: u64, content: &'m [u8], path: &[u64]) -> Option<()> {
        let before = std::mem::take(&mut self.rest);
        self.walk(content, path)?;
        let content = std::mem::replace(&mut self.rest, before);
        write_varint(&mut self.rest, tag);
        write_varint(&mut self.rest, content.len() as u64);
        self.rest.extend_from_slice(&content);
        Some(())
    }
}

fn take<'m>(message: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The elements of a list: those that stand in their message, and those that were taken out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'m, M> {
    /// In the message.
    pub(crate) decoded: &'m [M],
    /// Behind those, each to be decoded when it is its turn.
    pub(crate) encoded: &'m [&'m [u8]],
}

impl<M: Message + Default> Elements<'_, M> {
    /// Converts each element, as [`At::each`] does.
    pub(crate) fn each<T>(
        &self,
        at: &At<'_>,
        mut convert: impl FnMut(&M, &At<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Self { decoded, encoded } = self;
        let mut converted = Vec::with_capacity(decoded.len() + encoded.len());
        for (index, message) in decoded.iter().enumerate() {
            converted.extend(convert(message, &at.index(index)));
        }
        for (index, message) in encoded.iter().enumerate() {
            let at = &at.index(decoded.len() + index);
            match M::decode(*message) {
                Ok(message) => converted.extend(convert(&message, at)),
                Err(error) => at.problem(error),
            }
        }
        converted
    }
}

#[cfg(test)]
mod tests;
