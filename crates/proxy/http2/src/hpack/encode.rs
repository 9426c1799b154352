//! Writes header blocks.
//!
//! In: pseudo-headers and fields, one after the other. Out: their bytes in a buffer. A field goes
//! into the peer's table only when it was sent before, for most of what is sent once is not sent
//! again. What is in the table is found by a fingerprint in an array, one place for each, and then
//! compared: where two fall on one place, a field is spelled out that need not be, and nothing is
//! ever searched for. Strings are sent as they are.

use std::collections::VecDeque;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::tables::{FIRST_REGULAR, OVERHEAD, REGULAR, STATIC};

/// The table of a peer that has said nothing of it, and the largest that is used.
const DEFAULT_TABLE_SIZE: usize = 4096;

/// Places for fingerprints of fields.
const PLACES: usize = 256;

/// Places for fingerprints of names.
const NAME_PLACES: usize = 64;

// Indices of names in the static table.
const ACCEPT_ENCODING: usize = 16;
const AUTHORIZATION: usize = 23;
const COOKIE: usize = 32;
const PROXY_AUTHORIZATION: usize = 49;
const SET_COOKIE: usize = 55;

/// A short cookie may be guessed from how well it is compressed (RFC 7541, 7.1.3).
const SHORT_COOKIE: usize = 20;

/// Of a value longer than twice this, only the first and the last bytes are in its fingerprint.
const FINGERPRINTED: usize = 64;

/// What fingerprints begin with. With this number, no two names of the static table fall on one
/// place of [`STATIC_PLACES`].
const SEED: u64 = seed();

/// The index of each name of the static table, at the place of its fingerprint.
static STATIC_PLACES: [u8; 256] = match static_places(SEED) {
    Some(places) => places,
    None => panic!("the seed was found"),
};

/// Writes the header blocks of a connection, in the order they are sent.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// What the peer's table has, the newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
    /// The smallest and the last of the sizes that the peer has set since the last block.
    resize: Option<(usize, usize)>,
    /// How many entries there have been.
    inserted: u32,
    places: Box<Places>,
}

/// An entry of the table.
#[derive(Debug)]
struct Entry {
    name: EntryName,
    value: HeaderValue,
    print: u32,
    size: usize,
}

#[derive(Debug)]
enum EntryName {
    Pseudo(&'static str),
    Regular(HeaderName),
}

/// Where things are, by their fingerprints.
#[derive(Debug)]
struct Places {
    /// Fingerprints of what was sent.
    sent: [u32; PLACES],
    /// For fields in the table: the how many-th of all entries.
    fields: [u32; PLACES],
    /// For names in the table, other than those of the static one.
    names: [u32; NAME_PLACES],
}

/// A field that is to be written.
#[derive(Clone, Copy)]
struct Item<'a> {
    name: ItemName<'a>,
    /// The bytes of the name.
    text: &'a [u8],
    value: ItemValue<'a>,
    /// The index of the name in the static table, or zero.
    index: usize,
    /// The fingerprint of the name.
    print: u64,
}

#[derive(Clone, Copy)]
enum ItemName<'a> {
    Pseudo(&'static str),
    Regular(&'a HeaderName),
}

#[derive(Clone, Copy)]
enum ItemValue<'a> {
    Plain(&'a [u8]),
    Shared(&'a HeaderValue),
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size: DEFAULT_TABLE_SIZE,
            resize: None,
            inserted: 0,
            places: Box::new(Places {
                sent: [0; PLACES],
                fields: [0; PLACES],
                names: [0; NAME_PLACES],
            }),
        }
    }

    /// What the peer has set its table to (SETTINGS_HEADER_TABLE_SIZE). No more is used than what
    /// a table has at first; the next block tells what is.
    pub(crate) fn set_max_table_size(&mut self, size: usize) {
        let size = size.min(DEFAULT_TABLE_SIZE);
        match &mut self.resize {
            Some((smallest, last)) => {
                *smallest = size.min(*smallest);
                *last = size;
            }
            None if size != self.max_size => self.resize = Some((size, size)),
            None => {}
        }
    }

    /// Begins a block.
    pub(crate) fn begin(&mut self, out: &mut BytesMut) {
        if let Some((smallest, last)) = self.resize.take() {
            if smallest < last {
                write_integer(out, 0x20, 5, smallest);
            }
            self.shrink(smallest);
            write_integer(out, 0x20, 5, last);
            self.max_size = last;
        }
    }

    /// Writes `:method`.
    pub(crate) fn method(&mut self, method: &Method, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":method");
        match *method {
            Method::GET => out.put_u8(0x82),
            Method::POST => out.put_u8(0x83),
            _ => self.pseudo(":method", 2, NAME, method.as_str(), out),
        }
    }

    /// Writes `:scheme`.
    pub(crate) fn scheme(&mut self, scheme: &str, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":scheme");
        match scheme {
            "http" => out.put_u8(0x86),
            "https" => out.put_u8(0x87),
            _ => self.pseudo(":scheme", 6, NAME, scheme, out),
        }
    }

    /// Writes `:authority`.
    pub(crate) fn authority(&mut self, authority: &str, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":authority");
        self.pseudo(":authority", 1, NAME, authority, out);
    }

    /// Writes `:path`.
    pub(crate) fn path(&mut self, path: &str, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":path");
        match path {
            "/" => out.put_u8(0x84),
            _ => self.pseudo(":path", 4, NAME, path, out),
        }
    }

    /// Writes `:protocol`.
    pub(crate) fn protocol(&mut self, protocol: &HeaderValue, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":protocol");
        let item = Item {
            name: ItemName::Pseudo(":protocol"),
            text: b":protocol",
            value: ItemValue::Shared(protocol),
            index: 0,
            print: NAME,
        };
        self.write(item, out);
    }

    /// Writes `:status`.
    pub(crate) fn status(&mut self, status: StatusCode, out: &mut BytesMut) {
        const NAME: u64 = fingerprint(SEED, b":status");
        let index = match status.as_u16() {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => return self.pseudo(":status", 8, NAME, status.as_str(), out),
        };
        out.put_u8(0x80 | index);
    }

    /// Writes all of these.
    pub(crate) fn fields(&mut self, headers: &HeaderMap, out: &mut BytesMut) {
        for (name, value) in headers {
            self.field(name, value, out);
        }
    }

    /// Writes a field that is not a pseudo-header.
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
        let text = name.as_str();
        let print = fingerprint(SEED, text.as_bytes());
        let index = static_index(text, print);
        let item = Item {
            name: ItemName::Regular(name),
            text: text.as_bytes(),
            value: ItemValue::Shared(value),
            index,
            print,
        };
        let secret = match index {
            _ if value.is_sensitive() => true,
            AUTHORIZATION | PROXY_AUTHORIZATION | SET_COOKIE => true,
            COOKIE => value.len() < SHORT_COOKIE,
            _ => false,
        };
        if secret {
            let index = self.name_index(&item);
            return write_literal(out, 0x10, 4, index, &item);
        }
        // What the static table has with the name.
        let known = match index {
            ACCEPT_ENCODING => "gzip, deflate",
            _ => "",
        };
        if index != 0 && value == known {
            out.put_u8(0x80 | index as u8);
        } else {
            self.write(item, out);
        }
    }

    fn pseudo(
        &mut self,
        name: &'static str,
        index: usize,
        print: u64,
        value: &str,
        out: &mut BytesMut,
    ) {
        let item = Item {
            name: ItemName::Pseudo(name),
            text: name.as_bytes(),
            value: ItemValue::Plain(value.as_bytes()),
            index,
            print,
        };
        self.write(item, out);
    }

    fn write(&mut self, item: Item<'_>, out: &mut BytesMut) {
        let size = OVERHEAD + item.text.len() + item.value.as_bytes().len();
        if size > self.max_size / 2 {
            let index = self.name_index(&item);
            return write_literal(out, 0, 4, index, &item);
        }
        let print = value_fingerprint(item.print, item.value.as_bytes()) as u32;
        let place = print as usize % PLACES;
        if let Some((nth, entry)) = self.entry(self.places.fields[place])
            && entry.print == print
            && entry.name.as_bytes() == item.text
            && entry.value.as_bytes() == item.value.as_bytes()
        {
            return write_integer(out, 0x80, 7, STATIC + 1 + nth);
        }
        let index = self.name_index(&item);
        // A name with ever other values is worth an entry, too, if it has none: then it need
        // not be spelled out.
        let again = self.sent_before(print)
            || index == 0
                && size <= self.max_size / 8
                && self.sent_before((item.print >> 32) as u32);
        if again && let Some(value) = item.value.share() {
            write_literal(out, 0x40, 6, index, &item);
            self.insert(&item, value, print, size);
        } else {
            write_literal(out, 0, 4, index, &item);
        }
    }

    /// Whether something with this fingerprint was sent, as far as that is remembered. From now
    /// on it was.
    fn sent_before(&mut self, print: u32) -> bool {
        let place = &mut self.places.sent[print as usize % PLACES];
        std::mem::replace(place, print) == print
    }

    /// The entry that was the `count`-th of all, if there is one still.
    fn entry(&self, count: u32) -> Option<(usize, &Entry)> {
        let nth = self.inserted.wrapping_sub(count) as usize;
        Some((nth, self.entries.get(nth)?))
    }

    /// The index of a field's name, or zero.
    fn name_index(&self, item: &Item<'_>) -> usize {
        if item.index != 0 {
            return item.index;
        }
        match self.entry(self.places.names[name_place(item.print)]) {
            Some((nth, entry)) if entry.name.as_bytes() == item.text => STATIC + 1 + nth,
            _ => 0,
        }
    }

    fn insert(&mut self, item: &Item<'_>, value: HeaderValue, print: u32, size: usize) {
        self.shrink(self.max_size.saturating_sub(size));
        self.entries.push_front(Entry {
            name: match item.name {
                ItemName::Pseudo(name) => EntryName::Pseudo(name),
                ItemName::Regular(name) => EntryName::Regular(name.clone()),
            },
            value,
            print,
            size,
        });
        self.size += size;
        self.inserted = self.inserted.wrapping_add(1);
        self.places.fields[print as usize % PLACES] = self.inserted;
        if item.index == 0 {
            self.places.names[name_place(item.print)] = self.inserted;
        }
    }

    fn shrink(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }

    /// What the table's entries count for.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.size
    }
}

impl EntryName {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Pseudo(name) => name.as_bytes(),
            Self::Regular(name) => name.as_str().as_bytes(),
        }
    }
}

impl ItemValue<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(value) => value,
            Self::Shared(value) => value.as_bytes(),
        }
    }

    /// The value, to be kept.
    fn share(&self) -> Option<HeaderValue> {
        match self {
            Self::Plain(value) => HeaderValue::from_bytes(value).ok(),
            Self::Shared(value) => Some((*value).clone()),
        }
    }
}

/// Writes a field that is not in the table: a pattern with the index of its name, or the name, and
/// the value.
fn write_literal(out: &mut BytesMut, pattern: u8, bits: u32, index: usize, item: &Item<'_>) {
    write_integer(out, pattern, bits, index);
    if index == 0 {
        write_string(out, item.text);
    }
    write_string(out, item.value.as_bytes());
}

fn write_string(out: &mut BytesMut, string: &[u8]) {
    out.reserve(string.len() + 6);
    write_integer(out, 0, 7, string.len());
    out.put_slice(string);
}

/// Writes an integer whose first part takes so many bits of a byte (RFC 7541, 5.1), the others of
/// which are the pattern's.
fn write_integer(out: &mut BytesMut, pattern: u8, bits: u32, value: usize) {
    let mask = (1 << bits) - 1;
    if value < mask {
        return out.put_u8(pattern | value as u8);
    }
    out.put_u8(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.put_u8(0x80 | rest as u8);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// The index of a name with this fingerprint in the static table, or zero.
fn static_index(name: &str, print: u64) -> usize {
    let index = usize::from(STATIC_PLACES[static_place(print)]);
    match index.checked_sub(FIRST_REGULAR) {
        Some(nth) if REGULAR[nth] == name => index,
        _ => 0,
    }
}

const fn static_place(print: u64) -> usize {
    (print >> 40) as usize % 256
}

fn name_place(print: u64) -> usize {
    (print >> 52) as usize % NAME_PLACES
}

const fn seed() -> u64 {
    let mut seed = 1;
    while static_places(seed).is_none() {
        seed += 1;
    }
    seed
}

/// The places of the static table's names, if no two fall on one.
const fn static_places(seed: u64) -> Option<[u8; 256]> {
    let mut places = [0; 256];
    let mut nth = 0;
    while nth < REGULAR.len() {
        let place = static_place(fingerprint(seed, REGULAR[nth].as_bytes()));
        if places[place] != 0 {
            return None;
        }
        places[place] = (FIRST_REGULAR + nth) as u8;
        nth += 1;
    }
    Some(places)
}

fn value_fingerprint(print: u64, value: &[u8]) -> u64 {
    if value.len() <= 2 * FINGERPRINTED {
        return fingerprint(print, value);
    }
    let print = fingerprint(print ^ value.len() as u64, &value[..FINGERPRINTED]);
    fingerprint(print, &value[value.len() - FINGERPRINTED..])
}

/// Mixes bytes into a fingerprint, eight at a time.
const fn fingerprint(print: u64, bytes: &[u8]) -> u64 {
    let mut print = mix(print, bytes.len() as u64);
    if let Some(last) = bytes.last_chunk::<8>() {
        let last = u64::from_le_bytes(*last);
        let mut rest = bytes;
        while rest.len() > 8
            && let Some((chunk, after)) = rest.split_first_chunk::<8>()
        {
            print = mix(print, u64::from_le_bytes(*chunk));
            rest = after;
        }
        // What is left, with some of what went before.
        return mix(print, last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let both = (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64;
        return mix(print, both);
    }
    match *bytes {
        [] => print,
        [only] => mix(print, only as u64),
        [first, ref middle @ .., last] => {
            let middle = if middle.is_empty() { 0 } else { middle[0] };
            mix(
                print,
                (first as u64) << 16 | (middle as u64) << 8 | last as u64,
            )
        }
    }
}

const fn mix(print: u64, bits: u64) -> u64 {
    let mixed = (print ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}
