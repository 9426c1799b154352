//! Where in a document the parser is.

use std::fmt;

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A field, in the spelling of the input.
    Field(String),
    /// An element of a list.
    Index(usize),
    /// An entry of a map.
    Key(String),
}

/// The steps from the document to a value: `a.b[0].c["key"]`.
#[derive(Debug, Clone, Default)]
pub struct FieldPath(Vec<Segment>);

impl FieldPath {
    /// Steps into a value.
    pub fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    /// Steps back out.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// The number of steps.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if position == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}
