//! Namespaces in the names of certificates.
//!
//! The principals of a namespace, and the service accounts in one, are meant by expressions that
//! Istio writes in one way. What they ask for is read out of them here, so that policies can be
//! found by the namespace; any other expression is left to its engine.

/// What stands before a namespace.
const MARK: &str = "/ns/";

/// What expressions of namespaces have before the mark.
const BEFORE: [&str; 4] = [".*", ".+", "spiffe://.+", "spiffe://.*"];

/// What an expression asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked<'r> {
    /// Everybody of this namespace.
    ForAll(&'r str),
    /// Some of this namespace.
    ForSome(&'r str),
}

/// The namespace that an expression asks for, if it is of that kind.
pub(crate) fn asked(expression: &str) -> Option<Asked<'_>> {
    let whole = expression.strip_prefix("^(?:")?.strip_suffix(")$")?;
    let (before, after) = whole.split_once(MARK)?;
    let (namespace, rest) = after.split_once('/')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !BEFORE.contains(&before) || namespace.is_empty() || !namespace.bytes().all(is_plain) {
        return None;
    }
    if rest == ".*" {
        return (before == ".*").then_some(Asked::ForAll(namespace));
    }
    // an alternative would be one to all that stands before it
    let account = rest.strip_prefix("(.+/|)sa/")?;
    (!account.contains('|')).then_some(Asked::ForSome(namespace))
}

/// The namespaces in a name. A name of several lines has none, since no expression fits it.
pub(crate) fn of(name: &[u8]) -> Namespaces<'_> {
    let is_one_line = !name.contains(&b'\n');
    Namespaces(if is_one_line { name } else { &[] })
}

/// The namespaces in a name.
pub(crate) struct Namespaces<'n>(&'n [u8]);

impl<'n> Iterator for Namespaces<'n> {
    type Item = &'n [u8];

    fn next(&mut self) -> Option<&'n [u8]> {
        let mark = MARK.as_bytes();
        let at = self.0.windows(mark.len()).position(|it| it == mark)?;
        // The slash that ends one mark may begin another.
        self.0 = &self.0[at + mark.len() - 1..];
        let rest = &self.0[1..];
        let end = rest.iter().position(|byte| *byte == b'/')?;
        Some(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_read_out_of_the_expressions_that_mean_them() {
        let cases = [
            ("^(?:.*/ns/a-1/.*)$", Some(Asked::ForAll("a-1"))),
            (
                "^(?:spiffe://.+/ns/a/(.+/|)sa/b(/.+)?)$",
                Some(Asked::ForSome("a")),
            ),
            (".*/ns/a/.*", None),
            ("^(?:.*/ns/a/.*|.*)$", None),
            ("^(?:.*/ns/a|b/.*)$", None),
            ("^(?:.*/ns/.*/.*)$", None),
            ("^(?:.*/ns//.*)$", None),
            ("^(?:.*/ns/a/?.*)$", None),
            ("^(?:a|.*/ns/a/.*)$", None),
            ("^(?:.+/ns/a/.*)$", None),
            ("^(?:.*/ns/a/(.+/|)sa/b|c)$", None),
        ];
        for (expression, expected) in cases {
            assert_eq!(asked(expression), expected, "{expression}");
        }
    }

    #[test]
    fn a_name_may_have_any_number_of_namespaces() {
        let cases = [
            ("spiffe://td/ns/a/sa/x", vec!["a"]),
            ("/ns/ns/b/", vec!["ns", "b"]),
            ("/ns/a", vec![]),
            ("/ns//", vec![""]),
            ("/ns/a/\n", vec![]),
            ("", vec![]),
        ];
        for (name, expected) in cases {
            let expected: Vec<_> = expected.into_iter().map(str::as_bytes).collect();
            let found: Vec<_> = of(name.as_bytes()).collect();
            assert_eq!(found, expected, "{name:?}");
        }
    }
}
