//! Path templates: `*` stands for a segment, `**` for any number of them, `{name}` and
//! `{name=...}` for parts with a name.

use std::fmt::Write as _;

use meltemi_ir::{RegexMatch, UriTemplate};
use regex::Regex;

/// What may stand in a path's segment, as the inside of a character class.
const SEGMENT: &str = r"a-zA-Z0-9\-._~%!$&'()+,;:@";

/// Characters beside letters and digits that a template may have in a segment.
const MARKS: &str = "-._~%!$&'()+,;:@";

/// The most names in a template.
const MOST_NAMES: usize = 5;

/// The longest name.
const LONGEST_NAME: usize = 16;

/// What a template has read so far.
#[derive(Default)]
struct Reading<'a> {
    /// The expression.
    regex: String,
    /// `**` has come, after which no `*` may.
    any_depth: bool,
    names: Vec<&'a str>,
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<UriTemplate, String> {
    let Some(mut rest) = text.strip_prefix('/') else {
        return Err(format!("{text:?} does not begin with a slash"));
    };
    let mut reading = Reading::default();
    reading.regex.push('/');
    while !rest.is_empty() {
        rest = if let Some(after) = rest.strip_prefix('{') {
            let Some((inside, after)) = after.split_once('}') else {
                return Err(format!("{text:?} has a bracket that is not closed"));
            };
            reading.name(inside)?;
            after
        } else {
            reading.part(rest)?
        };
        match rest.strip_prefix('/') {
            // the slash at the end
            Some("") => {
                reading.regex.push('/');
                break;
            }
            Some(after) => {
                reading.regex.push('/');
                rest = after;
            }
            // what follows an operator ends the template
            None if !rest.is_empty() => {
                rest = reading.literal(rest)?;
                if !rest.is_empty() {
                    return Err(format!("{text:?} goes on after a suffix"));
                }
            }
            None => {}
        }
    }
    let regex = Regex::new(&format!("^(?:{})$", reading.regex))
        .map_err(|_| format!("{text:?} is not a valid template"))?;
    Ok(UriTemplate {
        text: text.to_owned(),
        regex: RegexMatch(regex),
    })
}

impl<'a> Reading<'a> {
    /// An operator or a literal; returns what follows it.
    fn part(&mut self, rest: &'a str) -> Result<&'a str, String> {
        if let Some(after) = rest.strip_prefix("**") {
            self.operator(true)?;
            return Ok(after);
        }
        if let Some(after) = rest.strip_prefix('*') {
            self.operator(false)?;
            return Ok(after);
        }
        self.literal(rest)
    }

    fn operator(&mut self, any_depth: bool) -> Result<(), String> {
        if self.any_depth {
            return Err("nothing that stands for other text may follow **".to_owned());
        }
        self.any_depth = any_depth;
        // ignored: writing to a String cannot fail
        let _ = if any_depth {
            write!(self.regex, "[{SEGMENT}/]*")
        } else {
            write!(self.regex, "[{SEGMENT}]+")
        };
        Ok(())
    }

    /// Text up to the next slash; returns what follows it.
    fn literal(&mut self, rest: &'a str) -> Result<&'a str, String> {
        let end = rest.find('/').unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        let allowed = |it: char| it.is_ascii_alphanumeric() || MARKS.contains(it);
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(format!("{text:?} is no text that a segment may have"));
        }
        self.regex.push_str(&regex::escape(text));
        Ok(after)
    }

    /// The inside of brackets.
    fn name(&mut self, inside: &'a str) -> Result<(), String> {
        let (name, pattern) = match inside.split_once('=') {
            Some((name, pattern)) => (name, Some(pattern)),
            None => (inside, None),
        };
        let mut letters = name.chars();
        let begins = letters.next().is_some_and(|it| it.is_ascii_alphabetic());
        if !begins || !letters.all(|it| it.is_ascii_alphanumeric() || it == '_') {
            return Err(format!("{name:?} is no name"));
        }
        if name.len() > LONGEST_NAME {
            return Err(format!("{name:?} is longer than {LONGEST_NAME} characters"));
        }
        if self.names.contains(&name) {
            return Err(format!("{name:?} stands in it twice"));
        }
        if self.names.len() == MOST_NAMES {
            return Err(format!("it has more than {MOST_NAMES} names"));
        }
        self.names.push(name);
        let Some(mut rest) = pattern else {
            return self.operator(false);
        };
        if rest.is_empty() {
            return Err(format!("{name:?} stands for nothing"));
        }
        while !rest.is_empty() {
            rest = self.part(rest)?;
            if !rest.is_empty() {
                rest = match rest.strip_prefix('/') {
                    Some(after) if !after.is_empty() => after,
                    _ => return Err(format!("{rest:?} may not follow in brackets")),
                };
                self.regex.push('/');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        parse(template).unwrap().regex.0.is_match(path)
    }

    #[test]
    fn operators_stand_for_segments() {
        for (template, path, wanted) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/a/b%2Fc", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a", false),
            ("/a/**", "/a/b/c", true),
            ("/**/z", "/a/b/z", true),
            ("/**/z", "/z", false),
            ("/**/z", "//z", true),
            ("/a/{one}/b", "/a/x/b", true),
            ("/a/{one=x/*}/b", "/a/x/y/b", true),
            ("/a/{one=**}.txt", "/a/x/y.txt", true),
            ("/a/*.js", "/a/b.js", true),
            ("/a/*.js", "/a/bxjs", false),
            ("/a/", "/a/", true),
            ("/a/", "/a", false),
            ("/", "/", true),
            ("/a$b", "/a$b", true),
            ("/a/*", "/a/ü", false),
        ] {
            assert_eq!(matches(template, path), wanted, "{template} {path}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for template in [
            "a",
            "/a//b",
            "/**/*",
            "/**/**",
            "/**/{a}",
            "/*b/c",
            "/a*",
            "/{",
            "/{1a}",
            "/{a}/{a}",
            "/{a=}",
            "/{a=b/}",
            "/{a=**}/{b=*}",
            "/{abcdefghijklmnopq}",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/ä",
            "/a b",
        ] {
            assert!(parse(template).is_err(), "{template}");
        }
    }
}
