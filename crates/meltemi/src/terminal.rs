//! Writing to people: standard output and standard error, with colour where it can be seen.
//!
//! In: text. Out: the same text, whole or, when the reader has gone, not at all.

use std::io::{self, IsTerminal as _, Write as _};

/// Where people read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    stdout_colour: bool,
    stderr_colour: bool,
}

/// How a word is marked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// Good.
    Green,
    /// Questionable.
    Yellow,
    /// Bad.
    Red,
    /// Important.
    Bold,
    /// Unimportant.
    Dim,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

impl Terminal {
    pub(crate) fn new(no_color: bool) -> Self {
        Self {
            stdout_colour: !no_color && io::stdout().is_terminal(),
            stderr_colour: !no_color && io::stderr().is_terminal(),
        }
    }

    /// Marks text for standard output.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        paint(self.stdout_colour, style, text)
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// When that fails for another reason than that nobody reads any more.
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says on standard error what went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.say(Style::Red, "Error", text);
    }

    /// Says on standard error what may be wrong.
    pub(crate) fn warning(&self, text: &str) {
        self.say(Style::Yellow, "warning", text);
    }

    /// Says something on standard error with a word before it.
    pub(crate) fn say(&self, style: Style, word: &str, text: &str) {
        let word = paint(self.stderr_colour, style, &format!("{word}:"));
        self.note(&format!("{word} {text}"));
    }

    /// Writes a line to standard error.
    pub(crate) fn note(&self, line: &str) {
        // ignored: a closed standard error leaves nobody to tell
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

fn paint(colour: bool, style: Style, text: &str) -> String {
    if colour {
        format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
    } else {
        text.to_owned()
    }
}
