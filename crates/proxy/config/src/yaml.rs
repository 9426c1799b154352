//! Plain YAML, read fast: what machines and most people write.
//!
//! A text enters, a [`Document`] leaves that `serde` reads; or nothing, where the text has anything
//! out of the ordinary (anchors, tags, block scalars, several documents, scalars over several
//! lines, words that old versions of YAML take for booleans) or is malformed. A library of all of
//! YAML reads such texts, and says what is wrong with them; it takes some twenty times as long,
//! which counts where a bootstrap holds thousands of clusters. What is read here is read as the
//! library would read it, which a test holds this module to.

mod block;
mod deserialize;
mod flow;
mod scalar;

use std::borrow::Cow;

/// A text taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<'t> {
    events: Events<'t>,
}

/// The steps through a document, in pieces: one list of a hundred thousand would, when it goes,
/// teach the allocator to keep as much as it holds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Events<'t> {
    pieces: Vec<Vec<Event<'t>>>,
}

impl<'t> Events<'t> {
    /// How many steps a piece has.
    const PIECE: usize = 1024;

    fn push(&mut self, event: Event<'t>) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < Self::PIECE => piece.push(event),
            _ => {
                let mut piece = Vec::with_capacity(Self::PIECE);
                piece.push(event);
                self.pieces.push(piece);
            }
        }
    }
}

/// A step through a document.
#[derive(Debug, Clone, PartialEq)]
enum Event<'t> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Cow<'t, str>),
    /// Keys and values follow in turn, up to the end.
    Mapping,
    Sequence,
    End,
}

/// The text is not plain, or malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotPlain;

impl<'t> Document<'t> {
    /// Takes a text apart, if it is plain.
    pub fn plain(text: &'t str) -> Option<Self> {
        let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
        if !text.bytes().all(is_plain) {
            return None;
        }
        let text = text.strip_prefix("---\n").unwrap_or(text);
        let mut events = Events::default();
        block::document(text, &mut events).ok()?;
        Some(Self { events })
    }
}

#[cfg(test)]
mod tests;
