//! Values of policies: whole texts, beginnings and ends.

use std::fmt;

/// How a value of a policy is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Glob {
    /// `*`: it is there and not empty.
    Present,
    /// `*TEXT`: it ends so.
    Suffix(String),
    /// `TEXT*`: it begins so.
    Prefix(String),
    /// It is just this.
    Exact(String),
}

impl Glob {
    /// Reads a value; a `*` in the middle stands for itself.
    pub fn new(text: &str) -> Self {
        if text == "*" {
            Self::Present
        } else if let Some(end) = text.strip_prefix('*') {
            Self::Suffix(end.to_owned())
        } else if let Some(beginning) = text.strip_suffix('*') {
            Self::Prefix(beginning.to_owned())
        } else {
            Self::Exact(text.to_owned())
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("*"),
            Self::Suffix(end) => write!(f, "*{end}"),
            Self::Prefix(beginning) => write!(f, "{beginning}*"),
            Self::Exact(text) => f.write_str(text),
        }
    }
}
