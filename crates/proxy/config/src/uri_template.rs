//! Path templates: `*` stands for a segment, `**` for any number of them, `{name}` and
//! `{name=...}` for parts with a name, which a rewritten path may have too.
//!
//! In: the extensions of routes and of RBAC. Out: an expression, and for rewriting what its
//! matches become.

use std::fmt::Write as _;

use meltemi_ir::{PathRewrite, RegexMatch, UriTemplate};
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use meltemi_xds::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use prost_types::Any;
use regex::Regex;

use crate::extension::{Known, unpack};
use crate::fields::fields;
use crate::http_options::typed_extension;
use crate::path::At;

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    /// What it says.
    pub(crate) template: UriTemplate,
    /// The names in it, in the order of the expression's groups.
    names: Vec<String>,
}

/// What reads a template.
pub(crate) type Matcher = fn(Option<&Any>, &At<'_>) -> Option<Template>;

/// Ways of matching a path.
pub(crate) static MATCHERS: &[Known<Matcher>] = &[Known {
    name: "envoy.path.match.uri_template.uri_template_matcher",
    type_name: "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
    convert: |config, at| {
        let message: UriTemplateMatchConfig = unpack(config, at)?;
        fields!(at, &message, UriTemplateMatchConfig { honoured { path_template } });
        parse(path_template)
            .inspect_err(|problem| at.field("path_template").problem(problem))
            .ok()
    },
}];

/// What reads what a path becomes; the template is what the path is matched by.
pub(crate) type Rewriter = fn(Option<&Any>, &Template, &At<'_>) -> Option<PathRewrite>;

/// Ways of rewriting a path.
pub(crate) static REWRITERS: &[Known<Rewriter>] = &[Known {
    name: "envoy.path.rewrite.uri_template.uri_template_rewriter",
    type_name: "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
    convert: |config, template, at| {
        let message: UriTemplateRewriteConfig = unpack(config, at)?;
        fields!(at, &message, UriTemplateRewriteConfig { honoured { path_template_rewrite } });
        let substitution = substitution(path_template_rewrite, &template.names)
            .inspect_err(|problem| at.field("path_template_rewrite").problem(problem))
            .ok()?;
        Some(PathRewrite::Regex {
            regex: template.template.regex.clone(),
            substitution,
        })
    },
}];

/// A template by which paths are matched.
pub(crate) fn matcher(message: &TypedExtensionConfig, at: &At<'_>) -> Option<Template> {
    let (known, config) = typed_extension(message, MATCHERS, at)?;
    (known.convert)(config, &at.field("typed_config"))
}

/// What paths become that such a template matches.
pub(crate) fn rewriter(
    message: &TypedExtensionConfig,
    template: Option<&Template>,
    at: &At<'_>,
) -> Option<PathRewrite> {
    let (known, config) = typed_extension(message, REWRITERS, at)?;
    let Some(template) = template else {
        at.problem("needs a path_match_policy whose names it may have");
        return None;
    };
    (known.convert)(config, template, &at.field("typed_config"))
}

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
fn parse(text: &str) -> Result<Template, String> {
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
    Ok(Template {
        template: UriTemplate {
            text: text.to_owned(),
            regex: RegexMatch(regex),
        },
        names: reading.names.into_iter().map(str::to_owned).collect(),
    })
}

/// Reads what a path becomes: text, and names in brackets.
fn substitution(text: &str, names: &[String]) -> Result<String, String> {
    if !text.starts_with('/') || text.contains("//") {
        return Err(format!(
            "{text:?} must begin with a slash and have no two of them in a row"
        ));
    }
    let mut substitution = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        let allowed = |it: char| it.is_ascii_alphanumeric() || it == '/' || MARKS.contains(it);
        if !literal.chars().all(allowed) {
            return Err(format!("{literal:?} is no text that a path may have"));
        }
        substitution.push_str(literal);
        let Some(inside) = after.strip_prefix('{') else {
            break;
        };
        let Some((name, after)) = inside.split_once('}') else {
            return Err(format!("{text:?} has a bracket that is not closed"));
        };
        let Some(group) = names.iter().position(|it| it == name) else {
            return Err(format!("{name:?} is no name of the path_match_policy"));
        };
        // ignored: writing to a String cannot fail
        let _ = write!(substitution, "\\{}", group + 1);
        rest = after;
    }
    Ok(substitution)
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
        self.regex.push('(');
        self.named(name, pattern)?;
        self.regex.push(')');
        Ok(())
    }

    /// What a name stands for.
    fn named(&mut self, name: &str, pattern: Option<&'a str>) -> Result<(), String> {
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
        parse(template).unwrap().template.regex.0.is_match(path)
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
    fn names_are_groups_of_the_expression() {
        let names = ["one".to_owned(), "two".to_owned()];
        for (rewrite, wanted) in [
            ("/x", Ok("/x")),
            ("/{two}/a{one}.b", Ok(r"/\2/a\1.b")),
            ("x", Err(())),
            ("/a//b", Err(())),
            ("/a?b", Err(())),
            ("/{three}", Err(())),
            ("/{one", Err(())),
        ] {
            let read = substitution(rewrite, &names);
            assert_eq!(read.as_deref().map_err(|_| ()), wanted, "{rewrite}");
        }
        let template = parse("/a/{one=b/*}/{two}").unwrap();
        let groups = template.template.regex.0.captures("/a/b/c/d").unwrap();
        assert_eq!((&groups[1], &groups[2]), ("b/c", "d"));
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
