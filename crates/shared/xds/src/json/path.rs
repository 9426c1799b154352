//! Where in a document the reader is.

use std::fmt::Write as _;

/// One step from a value to one inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'s> {
    /// A field, in the spelling of the input.
    Field(&'s str),
    /// An element of a list.
    Index(usize),
    /// An entry of a map.
    Key(&'s str),
}

/// The steps from the document to a value: `a.b[0].c["key"]`.
#[derive(Debug, Clone, Default)]
pub struct FieldPath {
    text: String,
    depth: usize,
}

/// What a path was before a step.
#[derive(Debug)]
pub struct Before(usize);

impl FieldPath {
    /// Steps into a value.
    pub fn push(&mut self, segment: Segment<'_>) -> Before {
        let before = self.text.len();
        match segment {
            Segment::Field(name) => {
                if self.depth > 0 {
                    self.text.push('.');
                }
                self.text.push_str(name);
            }
            // writing to a string cannot fail
            Segment::Index(index) => _ = write!(self.text, "[{index}]"),
            Segment::Key(key) => _ = write!(self.text, "[{key:?}]"),
        }
        self.depth += 1;
        Before(before)
    }

    /// Steps back out.
    pub fn pop(&mut self, Before(before): Before) {
        self.text.truncate(before);
        self.depth -= 1;
    }

    /// The number of steps.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The path as people read it.
    pub fn to_text(&self) -> String {
        self.text.clone()
    }
}
