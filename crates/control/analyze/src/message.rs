//! What an analyzer found.
//!
//! In: a code, a resource, words. Out: [`Message`], which prints as `istioctl analyze` prints it:
//! `Error [IST0101] (VirtualService default/reviews routing.yaml:12) Referenced host not found: "x"`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use meltemi_model::ResourceLabel;

use crate::{Code, Level};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub code: Code,
    /// The resource.
    pub resource: ResourceLabel,
    /// Its file; `None` for text that came from elsewhere.
    pub file: Option<Arc<Path>>,
    /// The line in it.
    pub line: u32,
    /// The words.
    pub text: String,
}

impl Message {
    /// How bad it is.
    pub fn level(&self) -> Level {
        self.code.level()
    }

    /// The resource as it is printed: `VirtualService default/reviews`.
    pub fn origin(&self) -> String {
        self.resource.to_string()
    }

    /// The place as it is printed: `routing.yaml:12`.
    pub fn reference(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(format!("{}:{}", file.display(), self.line))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] ({}", self.level(), self.code, self.origin())?;
        if let Some(reference) = self.reference() {
            write!(f, " {reference}")?;
        }
        write!(f, ") {}", self.text)
    }
}

/// A message that is not to be told: `CODE=KIND NAME.NAMESPACE`, with `*` for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The code as written, perhaps one that does not exist.
    pub code: String,
    resource: String,
}

impl Suppression {
    /// Whether the message is one of those.
    pub fn covers(&self, message: &Message) -> bool {
        let ResourceLabel {
            kind,
            namespace,
            name,
        } = &message.resource;
        let resource = match namespace {
            Some(namespace) => format!("{kind} {name}.{namespace}"),
            None => format!("{kind} {name}"),
        };
        self.code == message.code.as_str() && is_like(&self.resource, &resource)
    }
}

impl FromStr for Suppression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((code, resource)) if !resource.contains('=') => Ok(Self {
                code: code.to_owned(),
                resource: resource.to_owned(),
            }),
            _ => Err(format!(
                "{text} is not CODE=RESOURCE, such as \"IST0102=DestinationRule reviews.default\""
            )),
        }
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    (0..=text.len())
        .filter(|at| text.is_char_boundary(*at))
        .any(|at| is_like(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_stands_for_any_text() {
        let cases = [
            ("Pod a.b", "Pod a.b", true),
            ("Pod *.b", "Pod a.b", true),
            ("Pod *.b", "Pod a.c", false),
            ("*", "Pod a.b", true),
            ("Pod a*", "Pod a", true),
            ("Pod a", "Pod a.b", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
