//! What RE2 refuses of expressions that other engines take.
//!
//! In: an expression. Out: the repetitions in it that stand on one another, such as `++`, which Envoy
//! would refuse together with everything around it.

/// The first repetition that repeats a repetition; a `?` behind one makes it lazy and is none.
pub(super) fn stacked_repetition(pattern: &str) -> Option<&str> {
    let mut at = 0;
    let mut in_class = false;
    // Where the repetition before this place began.
    let mut before: Option<usize> = None;
    while let Some(character) = pattern[at..].chars().next() {
        let next = at + character.len_utf8();
        if character == '\\' {
            let escaped = pattern[next..].chars().next();
            at = next + escaped.map_or(0, char::len_utf8);
            before = None;
            continue;
        }
        if in_class {
            in_class = character != ']';
            before = None;
            at = next;
            continue;
        }
        let end = match character {
            '*' | '+' | '?' => Some(next),
            '{' => counted(&pattern[at..]).map(|length| at + length),
            _ => None,
        };
        match (end, before) {
            (Some(end), Some(start)) => return pattern.get(start..end),
            (Some(end), None) => {
                before = Some(at);
                at = end + usize::from(pattern[end..].starts_with('?'));
            }
            (None, _) => {
                before = None;
                in_class = character == '[';
                // A bracket right at the beginning of a class is one of its members.
                at = match in_class {
                    true => next + members(&pattern[next..]),
                    false => next,
                };
                if pattern[at..].starts_with("?") && pattern[..at].ends_with('(') {
                    at += 1; // `(?` begins a group
                }
            }
        }
    }
    None
}

/// The length of `{n}`, `{n,}` or `{n,m}` at the beginning of a text.
fn counted(text: &str) -> Option<usize> {
    let inner = text.get(1..text.find('}')?)?;
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    (!least.is_empty() && number(least) && number(most)).then_some(inner.len() + 2)
}

/// How much of the beginning of a class cannot be its end.
fn members(text: &str) -> usize {
    let negated = usize::from(text.starts_with('^'));
    negated + usize::from(text[negated..].starts_with(']'))
}

#[cfg(test)]
mod tests {
    use super::stacked_repetition;

    #[test]
    fn repetitions_do_not_stand_on_one_another() {
        for (pattern, expected) in [
            ("a+", None),
            ("a+?b*?c??d{2}?", None),
            ("(?i)a(?:b)+(?P<n>c)?", None),
            (r"\+\*+", None),
            ("[+*?]+", None),
            ("[]+]+[^]*]*", None),
            ("a{x}+", None),
            ("a++", Some("++")),
            ("(a)*+b", Some("*+")),
            ("a+?*", Some("+?*")),
            ("a{2}{3}", Some("{2}{3}")),
            ("é{1,}*", Some("{1,}*")),
        ] {
            assert_eq!(stacked_repetition(pattern), expected, "{pattern}");
        }
    }
}
