//! Collections in brackets and braces; JSON is all of these.

use super::block::{Keys, MAX_DEPTH};
use super::{Event, Events, NotPlain, scalar};

/// Collections in one text.
pub(super) struct Flow<'t, 'e> {
    rest: &'t str,
    events: &'e mut Events<'t>,
    /// Whether lines may end between values.
    lines: bool,
    depth: usize,
}

impl<'t, 'e> Flow<'t, 'e> {
    /// Reads one collection at the start of `text`; answers with the text behind it.
    pub fn read(
        text: &'t str,
        events: &'e mut Events<'t>,
        lines: bool,
        depth: usize,
    ) -> Result<&'t str, NotPlain> {
        let mut flow = Self {
            rest: text,
            events,
            lines,
            depth,
        };
        flow.value()?;
        Ok(flow.rest)
    }

    fn skip(&mut self) {
        self.rest = match self.lines {
            true => self.rest.trim_start_matches([' ', '\n']),
            false => self.rest.trim_start_matches(' '),
        };
    }

    fn next(&self) -> Result<u8, NotPlain> {
        self.rest.as_bytes().first().copied().ok_or(NotPlain)
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.rest.as_bytes().first() == Some(&byte);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    fn value(&mut self) -> Result<(), NotPlain> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(NotPlain);
        }
        match self.next()? {
            b'{' => self.mapping()?,
            b'[' => self.sequence()?,
            b'"' | b'\'' => {
                let (text, rest) = scalar::quoted(self.rest)?;
                self.events.push(Event::Text(text));
                self.rest = rest;
            }
            _ => {
                let text = self.plain()?;
                self.events.push(scalar::plain(text)?);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A plain scalar, up to what ends it.
    fn plain(&mut self) -> Result<&'t str, NotPlain> {
        let bytes = self.rest.as_bytes();
        let mut end = 0;
        while let Some(byte) = bytes.get(end) {
            match byte {
                b',' | b'}' | b']' | b'\n' => break,
                b':' => match bytes.get(end + 1) {
                    Some(b' ') => break,
                    Some(b'\n' | b',' | b'}' | b']' | b'{' | b'[') | None => return Err(NotPlain),
                    Some(_) => {}
                },
                b'{' | b'[' | b'#' => return Err(NotPlain),
                _ => {}
            }
            end += 1;
        }
        let text = self.rest[..end].trim_end_matches(' ');
        self.rest = &self.rest[end..];
        Ok(text)
    }

    fn mapping(&mut self) -> Result<(), NotPlain> {
        self.rest = &self.rest[1..];
        self.events.push(Event::Mapping);
        let mut keys = Keys::default();
        self.skip();
        if self.take(b'}') {
            self.events.push(Event::End);
            return Ok(());
        }
        loop {
            self.key(&mut keys)?;
            self.skip();
            self.value()?;
            self.skip();
            if self.take(b'}') {
                self.events.push(Event::End);
                return Ok(());
            }
            if !self.take(b',') {
                return Err(NotPlain);
            }
            self.skip();
        }
    }

    fn key(&mut self, keys: &mut Keys<'t>) -> Result<(), NotPlain> {
        let key = match self.next()? {
            b'"' | b'\'' => {
                let (key, rest) = scalar::quoted(self.rest)?;
                self.rest = rest.trim_start_matches(' ');
                key
            }
            _ => match scalar::plain(self.plain()?)? {
                Event::Text(text) if self.rest.starts_with(": ") => text,
                _ => return Err(NotPlain),
            },
        };
        if !self.take(b':') {
            return Err(NotPlain);
        }
        keys.add(key.clone())?;
        self.events.push(Event::Text(key));
        Ok(())
    }

    fn sequence(&mut self) -> Result<(), NotPlain> {
        self.rest = &self.rest[1..];
        self.events.push(Event::Sequence);
        self.skip();
        if self.take(b']') {
            self.events.push(Event::End);
            return Ok(());
        }
        loop {
            self.value()?;
            self.skip();
            if self.take(b']') {
                self.events.push(Event::End);
                return Ok(());
            }
            if !self.take(b',') {
                return Err(NotPlain);
            }
            self.skip();
        }
    }
}
