//! What a route makes of path and authority, and where it redirects to. Pure.

use meltemi_ir as ir;
use regex::Regex;

use super::matching::{RequestView, path_only};

/// A substitution compiled from RE2's notation (`\1`) to that of the `regex` crate.
#[derive(Debug)]
pub(crate) struct Substitution {
    regex: Regex,
    replacement: String,
}

impl Substitution {
    pub(crate) fn new(regex: &ir::RegexMatch, substitution: &str) -> Self {
        let mut replacement = String::with_capacity(substitution.len() + 8);
        let mut chars = substitution.chars();
        while let Some(next) = chars.next() {
            match next {
                '$' => replacement.push_str("$$"),
                '\\' => match chars.next() {
                    Some(digit) if digit.is_ascii_digit() => {
                        replacement.push_str("${");
                        replacement.push(digit);
                        replacement.push('}');
                    }
                    Some(other) => replacement.push(other),
                    None => replacement.push('\\'),
                },
                other => replacement.push(other),
            }
        }
        Self {
            regex: regex.0.clone(),
            replacement,
        }
    }

    /// Every match in `text` replaced.
    pub(crate) fn apply(&self, text: &str) -> String {
        self.regex
            .replace_all(text, self.replacement.as_str())
            .into_owned()
    }
}

/// How much of the path the matcher covers, which a prefix rewrite replaces.
pub(crate) fn matched_length(matcher: &ir::PathMatch, path: &str) -> usize {
    match matcher {
        ir::PathMatch::Prefix(prefix) | ir::PathMatch::SeparatedPrefix(prefix) => prefix.len(),
        ir::PathMatch::Exact(_) | ir::PathMatch::Regex(_) => path.len(),
        ir::PathMatch::Connect => 0,
    }
    .min(path.len())
}

/// The path and query after replacing the first `matched` bytes of the path.
pub(crate) fn replace_prefix(path_and_query: &str, matched: usize, prefix: &str) -> String {
    let rest = path_and_query.get(matched..).unwrap_or_default();
    let mut path = String::with_capacity(prefix.len() + rest.len());
    path.push_str(prefix);
    path.push_str(rest);
    path
}

/// The path and query after a substitution in the path.
pub(crate) fn substitute(path_and_query: &str, substitution: &Substitution) -> String {
    let path = path_only(path_and_query);
    let mut rewritten = substitution.apply(path);
    rewritten.push_str(&path_and_query[path.len()..]);
    rewritten
}

/// A redirection's compiled parts.
#[derive(Debug)]
pub(crate) struct RedirectPlan {
    pub(crate) regex: Option<Substitution>,
}

impl RedirectPlan {
    pub(crate) fn new(redirect: &ir::Redirect) -> Self {
        let regex = match &redirect.path {
            ir::RedirectPath::Regex {
                regex,
                substitution,
            } => Some(Substitution::new(regex, substitution)),
            ir::RedirectPath::Keep | ir::RedirectPath::Full(_) | ir::RedirectPath::Prefix(_) => {
                None
            }
        };
        Self { regex }
    }
}

/// The value of `location`.
pub(crate) fn location(
    redirect: &ir::Redirect,
    plan: &RedirectPlan,
    matcher: &ir::PathMatch,
    view: &RequestView<'_>,
) -> String {
    let scheme = match &redirect.scheme {
        Some(scheme) => scheme.as_str(),
        None if redirect.https => "https",
        None => view.scheme,
    };
    let host = match &redirect.host {
        Some(host) => host.as_str(),
        None => request_host(view, scheme, redirect.port.is_some()),
    };
    let mut uri = String::with_capacity(scheme.len() + host.len() + view.path.len() + 16);
    uri.push_str(scheme);
    uri.push_str("://");
    uri.push_str(host);
    if let Some(port) = redirect.port {
        uri.push(':');
        uri.push_str(&port.to_string());
    }
    let path = view.path_only();
    let query = if redirect.strip_query {
        ""
    } else {
        view.query()
    };
    match &redirect.path {
        ir::RedirectPath::Keep => {
            uri.push_str(path);
            uri.push_str(query);
        }
        ir::RedirectPath::Full(full) => {
            uri.push_str(full);
            if !full.contains('?') {
                uri.push_str(query);
            }
        }
        ir::RedirectPath::Prefix(prefix) => {
            uri.push_str(prefix);
            uri.push_str(&path[matched_length(matcher, path)..]);
            uri.push_str(query);
        }
        ir::RedirectPath::Regex { .. } => {
            match &plan.regex {
                Some(substitution) => uri.push_str(&substitution.apply(path)),
                None => uri.push_str(path),
            }
            uri.push_str(query);
        }
    }
    uri
}

/// The request's host as a redirection repeats it: a port that was the old scheme's default
/// goes with the scheme, and any port goes where another is put in its place.
fn request_host<'a>(view: &RequestView<'a>, scheme: &str, new_port: bool) -> &'a str {
    let Some(port) = super::domain::port_of(view.authority) else {
        return view.authority;
    };
    let obsolete = new_port
        || (port == 80 && scheme == "https" && view.scheme != scheme)
        || (port == 443 && scheme == "http" && view.scheme != scheme);
    if obsolete {
        super::domain::without_port(view.authority)
    } else {
        view.authority
    }
}
