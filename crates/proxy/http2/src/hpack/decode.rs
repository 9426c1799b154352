//! Reads header blocks.
//!
//! In: a whole header block. Out: its fields, or why the connection cannot go on. What makes only
//! the message malformed is told with the fields, for the table has to follow the peer's whatever
//! a block says.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::huffman;
use super::tables::{Entry, Field, Name, Table};

/// The most fields that room is made for before they are seen.
const MAX_EXPECTED: usize = 48;

/// Maps that are kept to be used again, and the largest of them.
const MAX_SPARE: (usize, usize) = (32, 96);

/// How much room for strings is kept from one block to the next.
const MAX_SCRATCH: usize = 16 * 1024;

/// Reads the header blocks of a connection, in the order they come.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// The largest table that the peer may ask for.
    max_table_size: usize,
    /// Where strings are decoded.
    scratch: Vec<u8>,
    /// How many fields the last block had. The next one probably has as many.
    expected: usize,
    /// Empty maps.
    spare: Vec<HeaderMap>,
}

/// Why a connection cannot go on after a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The block is not one.
    #[error("{0}")]
    Compression(&'static str),
    /// A name or value has bytes that none may have.
    #[error("{0}")]
    Field(&'static str),
}

/// What was in a header block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) pseudo: Pseudo,
    pub(crate) headers: HeaderMap,
    /// There was more than there may be, and the rest is not here.
    pub(crate) over_size: bool,
    /// Why this cannot be a message.
    pub(crate) malformed: Option<&'static str>,
}

/// Pseudo-headers (RFC 9113, 8.3).
#[derive(Debug, Default)]
pub(crate) struct Pseudo {
    pub(crate) method: Option<Method>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) authority: Option<Authority>,
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) protocol: Option<HeaderValue>,
    pub(crate) status: Option<StatusCode>,
}

/// A block that is being read.
struct Reading {
    block: Block,
    /// What the fields count for so far, and what they may.
    size: usize,
    limit: usize,
    /// Whether a field came that is not a pseudo-header.
    regular: bool,
}

/// What is left of a block's bytes.
struct Input<'a>(&'a [u8]);

impl Decoder {
    /// For a peer that was told this SETTINGS_HEADER_TABLE_SIZE.
    pub(crate) fn new(max_table_size: usize) -> Self {
        Self {
            table: Table::new(max_table_size),
            max_table_size,
            scratch: Vec::new(),
            expected: 0,
            spare: Vec::new(),
        }
    }

    /// Takes a map that nobody needs any more, for the fields of another block.
    pub(crate) fn reuse(&mut self, mut map: HeaderMap) {
        let (count, capacity) = MAX_SPARE;
        if self.spare.len() < count && map.capacity() <= capacity {
            map.clear();
            self.spare.push(map);
        }
    }

    /// The fields of a whole block. Once they count for more than `limit` (RFC 9113, 6.5.2), no
    /// more of them are kept.
    ///
    /// # Errors
    /// When the connection cannot go on.
    pub(crate) fn decode(&mut self, block: &[u8], limit: usize) -> Result<Block, DecodeError> {
        let mut input = Input(block);
        let headers = self.spare.pop();
        let expected = self.expected;
        let mut reading = Reading {
            block: Block {
                headers: headers.unwrap_or_else(|| HeaderMap::with_capacity(expected)),
                ..Block::default()
            },
            size: 0,
            limit,
            regular: false,
        };
        let mut begun = false;
        while let Some(&kind) = input.0.first() {
            if kind & 0x80 != 0 {
                let entry = self.table.get(input.integer(7)?)?;
                if reading.fits(entry.size) {
                    reading.add(entry.field.clone());
                }
            } else if kind & 0x40 != 0 {
                let entry = self.literal(&mut input, 6, false)?;
                self.table.insert(entry.clone());
                reading.add_entry(entry);
            } else if kind & 0x20 == 0 {
                let entry = self.literal(&mut input, 4, kind & 0x10 != 0)?;
                reading.add_entry(entry);
            } else {
                let size = input.integer(5)?;
                if begun || size > self.max_table_size {
                    return Err(DecodeError::Compression("bad table size update"));
                }
                self.table.set_max_size(size);
                continue;
            }
            begun = true;
        }
        if self.scratch.capacity() > MAX_SCRATCH {
            self.scratch = Vec::new();
        }
        self.expected = reading.block.headers.len().min(MAX_EXPECTED);
        Ok(reading.block)
    }

    /// A field that is spelled out, after an index of so many bits or none.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        bits: u32,
        sensitive: bool,
    ) -> Result<Entry, DecodeError> {
        let name = match input.integer(bits)? {
            0 => Name::parse(input.string(&mut self.scratch)?)?,
            index => self.table.name(index)?,
        };
        Entry::parse(name, input.string(&mut self.scratch)?, sensitive)
    }

    /// What the table's entries count for.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}

impl Reading {
    /// Counts a field. Whether it is to be kept.
    fn fits(&mut self, size: usize) -> bool {
        self.size = self.size.saturating_add(size);
        if self.size > self.limit {
            self.block.over_size = true;
        }
        !self.block.over_size
    }

    fn add_entry(&mut self, entry: Entry) {
        if self.fits(entry.size) {
            self.add(entry.field);
        }
    }

    fn add(&mut self, field: Field) {
        let pseudo = &mut self.block.pseudo;
        let once = match field {
            Field::Regular(name, value) => {
                self.regular = true;
                // A map has an end, too.
                if self.block.headers.try_append(name, value).is_err() {
                    self.block.over_size = true;
                }
                return;
            }
            Field::Refused(_, why) => {
                self.block.malformed = Some(why);
                return;
            }
            Field::Method(method) => pseudo.method.replace(method).is_none(),
            Field::Scheme(scheme) => pseudo.scheme.replace(scheme).is_none(),
            Field::Authority(authority) => pseudo.authority.replace(authority).is_none(),
            Field::Path(path) => pseudo.path.replace(path).is_none(),
            Field::Protocol(protocol) => pseudo.protocol.replace(protocol).is_none(),
            Field::Status(status) => pseudo.status.replace(status).is_none(),
        };
        if !once {
            self.block.malformed = Some("pseudo-header twice");
        }
        if self.regular {
            self.block.malformed = Some("pseudo-header after a header");
        }
    }
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self
            .0
            .split_first()
            .ok_or(DecodeError::Compression("header block ends early"))?;
        self.0 = rest;
        Ok(byte)
    }

    /// An integer whose first part has so many bits of a byte (RFC 7541, 5.1). None needs more
    /// than four bytes beyond that.
    fn integer(&mut self, bits: u32) -> Result<usize, DecodeError> {
        let mask = (1 << bits) - 1;
        let mut value = usize::from(self.byte()? & mask);
        if value < usize::from(mask) {
            return Ok(value);
        }
        for nth in 0..4 {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << (7 * nth);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Compression("integer too large"))
    }

    /// A string (RFC 7541, 5.2), which is among the bytes of the block or decoded to `scratch`.
    fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], DecodeError>
    where
        'a: 's,
    {
        let coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (string, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError::Compression("string beyond the header block"))?;
        self.0 = rest;
        if !coded {
            return Ok(string);
        }
        huffman::decode(string, scratch)
            .map_err(|huffman::Malformed| DecodeError::Compression("bad Huffman code"))?;
        Ok(scratch)
    }
}
