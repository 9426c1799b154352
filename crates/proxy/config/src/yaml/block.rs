//! Collections by indentation.

use std::borrow::Cow;
use std::collections::HashSet;

use super::flow::Flow;
use super::{Event, Events, NotPlain, scalar};

/// Nothing is nested deeper than this that is read here.
pub(super) const MAX_DEPTH: usize = 64;

/// The longest key on one line.
const MAX_KEY: usize = 1000;

/// From here on, keys of a mapping are looked up, not compared one by one.
const MANY_KEYS: usize = 24;

/// A line with something on it, or the rest of one.
#[derive(Clone, Copy)]
struct Line<'t> {
    indent: usize,
    content: &'t str,
}

struct Block<'t, 'e> {
    rest: &'t str,
    line: Option<Line<'t>>,
    events: &'e mut Events<'t>,
    depth: usize,
}

/// The keys of one mapping so far.
#[derive(Default)]
pub(super) struct Keys<'t> {
    few: Vec<Cow<'t, str>>,
    many: HashSet<Cow<'t, str>>,
}

impl<'t> Keys<'t> {
    /// Adds a key, unless it is there.
    pub fn add(&mut self, key: Cow<'t, str>) -> Result<(), NotPlain> {
        let is_new = if self.few.len() < MANY_KEYS {
            let is_new = !self.few.contains(&key);
            self.few.push(key);
            is_new
        } else {
            if self.many.is_empty() {
                self.many.extend(self.few.iter().cloned());
            }
            self.many.insert(key)
        };
        if is_new { Ok(()) } else { Err(NotPlain) }
    }
}

/// Reads a text.
pub(super) fn document<'t>(text: &'t str, events: &mut Events<'t>) -> Result<(), NotPlain> {
    let mut block = Block {
        rest: text,
        line: None,
        events,
        depth: 0,
    };
    let start = text.trim_start_matches([' ', '\n']);
    if start.starts_with(['{', '[']) {
        let rest = Flow::read(start, block.events, true, 0)?;
        return match rest.trim_start_matches([' ', '\n']) {
            "" => Ok(()),
            _ => Err(NotPlain),
        };
    }
    block.advance()?;
    block.node(0)?;
    match block.line {
        None => Ok(()),
        Some(_) => Err(NotPlain),
    }
}

impl<'t> Block<'t, '_> {
    /// Goes to the next line with something on it.
    fn advance(&mut self) -> Result<(), NotPlain> {
        self.line = None;
        while !self.rest.is_empty() {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            let content = line.trim_start_matches(' ');
            let indent = line.len() - content.len();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if indent == 0 && content.starts_with(['%', '.']) || line.starts_with("---") {
                return Err(NotPlain);
            }
            self.line = Some(Line { indent, content });
            return Ok(());
        }
        Ok(())
    }

    /// Reads the node that begins with the present line, which lies no further out than `least`.
    fn node(&mut self, least: usize) -> Result<(), NotPlain> {
        let line = self.line.ok_or(NotPlain)?;
        if line.indent < least || self.depth >= MAX_DEPTH {
            return Err(NotPlain);
        }
        self.depth += 1;
        if is_entry(line.content) {
            self.sequence(line.indent)?;
        } else if key(line.content).is_ok() {
            self.mapping(line.indent)?;
        } else {
            self.value(line.content, least)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a value that ends with its line; the next line lies further out than `inside`.
    fn value(&mut self, text: &'t str, inside: usize) -> Result<(), NotPlain> {
        let rest = match text.as_bytes().first() {
            Some(b'{' | b'[') => Flow::read(text, self.events, false, self.depth)?,
            Some(b'"' | b'\'') => {
                let (value, rest) = scalar::quoted(text)?;
                self.events.push(Event::Text(value));
                rest
            }
            _ => {
                let end = text.find(" #").unwrap_or(text.len());
                let value = text[..end].trim_end_matches(' ');
                if value.contains(": ") || value.ends_with(':') {
                    return Err(NotPlain);
                }
                self.events.push(scalar::plain(value)?);
                &text[end..]
            }
        };
        if !is_over(rest) {
            return Err(NotPlain);
        }
        self.advance()?;
        match self.line {
            Some(line) if line.indent >= inside => Err(NotPlain),
            _ => Ok(()),
        }
    }

    fn mapping(&mut self, indent: usize) -> Result<(), NotPlain> {
        self.events.push(Event::Mapping);
        let mut keys = Keys::default();
        while let Some(line) = self.line {
            if line.indent < indent {
                break;
            }
            if line.indent > indent || is_entry(line.content) {
                return Err(NotPlain);
            }
            let (key, value) = key(line.content)?;
            keys.add(key.clone())?;
            self.events.push(Event::Text(key));
            if !is_over(value) {
                self.value(value.trim_start_matches(' '), indent + 1)?;
                continue;
            }
            self.advance()?;
            match self.line {
                Some(next) if next.indent > indent => self.node(indent + 1)?,
                Some(next) if next.indent == indent && is_entry(next.content) => {
                    self.sequence(indent)?;
                }
                _ => self.events.push(Event::Null),
            }
        }
        self.events.push(Event::End);
        Ok(())
    }

    fn sequence(&mut self, indent: usize) -> Result<(), NotPlain> {
        self.events.push(Event::Sequence);
        while let Some(line) = self.line {
            if line.indent > indent {
                return Err(NotPlain);
            }
            if line.indent < indent || !is_entry(line.content) {
                break;
            }
            let value = &line.content[1..];
            if is_over(value) {
                self.advance()?;
                match self.line {
                    Some(next) if next.indent > indent => self.node(indent + 1)?,
                    _ => self.events.push(Event::Null),
                }
                continue;
            }
            // What follows the dash is as a line of its own, further in.
            let content = value.trim_start_matches(' ');
            self.line = Some(Line {
                indent: indent + 1 + value.len() - content.len(),
                content,
            });
            self.node(indent + 1)?;
        }
        self.events.push(Event::End);
        Ok(())
    }
}

/// Whether a line begins an entry of a sequence.
fn is_entry(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}

/// Whether nothing but a comment is left of a line.
fn is_over(rest: &str) -> bool {
    let content = rest.trim_start_matches(' ');
    content.is_empty() || (content.len() < rest.len() && content.starts_with('#'))
}

/// The key at the start of a line, and what follows its colon.
fn key(content: &str) -> Result<(Cow<'_, str>, &str), NotPlain> {
    let (key, rest) = match content.as_bytes().first() {
        Some(b'"' | b'\'') => {
            let (key, rest) = scalar::quoted(content)?;
            (key, rest.trim_start_matches(' '))
        }
        _ => {
            let is_colon = |(at, _): &(usize, &str)| {
                matches!(content.as_bytes().get(at + 1), None | Some(b' '))
            };
            let mut colons = content.match_indices(':');
            let (at, _) = colons.find(is_colon).ok_or(NotPlain)?;
            let text = content[..at].trim_end_matches(' ');
            if text.contains(" #") {
                return Err(NotPlain);
            }
            match scalar::plain(text)? {
                Event::Text(text) => (text, &content[at..]),
                _ => return Err(NotPlain),
            }
        }
    };
    let rest = rest.strip_prefix(':').ok_or(NotPlain)?;
    let is_alone = rest.is_empty() || rest.starts_with(' ');
    if is_alone && key.len() <= MAX_KEY {
        Ok((key, rest))
    } else {
        Err(NotPlain)
    }
}
