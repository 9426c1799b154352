//! The encoding of messages, written front to back.

/// One value, encoded but for its tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Encoded<'v> {
    /// An integer of variable length.
    Varint(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64(u64),
    /// Text or bytes.
    Bytes(std::borrow::Cow<'v, [u8]>),
}

impl Encoded<'_> {
    /// Whether it is what a field has that is left out.
    pub fn is_default(&self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => *value == 0,
            Self::Fixed32(value) => *value == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    fn wire_type(&self) -> u32 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => LENGTH_DELIMITED,
            Self::Fixed32(_) => 5,
        }
    }
}

const LENGTH_DELIMITED: u32 = 2;

/// A message as it is being written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// Where something of a length that is not known yet begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    tag: usize,
    start: usize,
}

impl Writer {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits")]
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "less than 128")]
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    /// Writes a field of one value.
    pub fn field(&mut self, number: u32, value: &Encoded<'_>) {
        self.tag(number, value.wire_type());
        self.value(value);
    }

    /// Writes a value without a tag.
    pub fn value(&mut self, value: &Encoded<'_>) {
        match value {
            Encoded::Varint(value) => self.varint(*value),
            Encoded::Fixed32(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
            Encoded::Fixed64(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
            Encoded::Bytes(bytes) => {
                self.varint(bytes.len() as u64);
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Begins a field that has a length.
    pub fn open(&mut self, number: u32) -> Open {
        let tag = self.bytes.len();
        self.tag(number, LENGTH_DELIMITED);
        self.bytes.push(0);
        let start = self.bytes.len();
        Open { tag, start }
    }

    /// Ends it: puts its length before it.
    pub fn close(&mut self, Open { start, .. }: Open) {
        let length = self.bytes.len() - start;
        if length < 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "less than 128")]
            let length = length as u8;
            self.bytes[start - 1] = length;
            return;
        }
        let mut prefix = Self::default();
        prefix.varint(length as u64);
        self.bytes.splice(start - 1..start, prefix.bytes);
    }

    /// Ends it as [`Self::close`] does; takes its tag back where nothing is in it.
    pub fn close_unless_empty(&mut self, open: Open) {
        match open {
            Open { start, .. } if start < self.bytes.len() => self.close(open),
            Open { tag, .. } => self.bytes.truncate(tag),
        }
    }

    /// Puts what was written after `start` into another order: each piece begins where its key
    /// says and ends where the next one begins.
    pub fn sort_by<K: Ord>(&mut self, start: usize, pieces: &[(K, usize)]) {
        if pieces.is_sorted_by(|(a, _), (b, _)| a <= b) {
            return;
        }
        let ends = pieces.iter().skip(1).map(|(_, at)| *at);
        let ends = ends.chain([self.bytes.len()]);
        let mut pieces: Vec<_> = pieces
            .iter()
            .zip(ends)
            .map(|((key, at), end)| (key, *at..end))
            .collect();
        pieces.sort_by_key(|(key, _)| *key);
        let sorted: Vec<u8> = pieces
            .into_iter()
            .flat_map(|(_, piece)| self.bytes[piece].iter().copied())
            .collect();
        self.bytes.truncate(start);
        self.bytes.extend_from_slice(&sorted);
    }
}
