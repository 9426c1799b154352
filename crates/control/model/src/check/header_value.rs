//! Header values as Envoy formats them.
//!
//! In: a value with `%OPERATOR(argument):length%` parts. Out: whether Envoy would take it. Which
//! operators there are is Envoy's affair; only what would break the configuration is refused here.

/// Checks a value; the error says what to write.
pub(super) fn check(value: &str) -> Result<(), String> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("a header value has no control characters".to_owned());
    }
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        let after = &rest[at + 1..];
        rest = match after.strip_prefix('%') {
            Some(tail) => tail,
            None => operator(after).ok_or_else(|| {
                format!(
                    "`{value}` has a % that begins no operator such as %REQ(host)%; write %% for a percent sign"
                )
            })?,
        };
    }
    Ok(())
}

/// What follows the operator at the beginning of `text`, its closing percent sign included.
fn operator(text: &str) -> Option<&str> {
    let name_end =
        text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
    if name_end == 0 {
        return None;
    }
    let mut rest = &text[name_end..];
    if rest.starts_with('(') {
        let close = rest.find(')')?;
        rest = &rest[close + 1..];
    }
    if let Some(tail) = rest.strip_prefix(':') {
        let digits = tail.find(|c: char| !c.is_ascii_digit())?;
        if digits == 0 {
            return None;
        }
        rest = &tail[digits..];
    }
    rest.strip_prefix('%')
}
