//! Path templates: `{*}` stands for one segment of a path, `{**}` for any number of them.

/// Whether a path of a policy is a template.
pub(super) fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

/// Checks a template as Envoy does (`UriTemplateMatchConfig`).
pub(super) fn check(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("begin the template with `/`");
    };
    // A slash may end it, which the path must have then too.
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let mut open_ended = false;
    for segment in rest.split('/') {
        match segment {
            "{*}" | "{**}" if open_ended => {
                return Err("nothing but plain segments may follow `{**}`");
            }
            "{**}" => open_ended = true,
            "{*}" => {}
            "" => return Err("a template has no empty segment"),
            it if it.contains(['{', '}', '*']) => {
                return Err("`{*}` and `{**}` stand for whole segments, and nothing else does");
            }
            it if it.bytes().all(is_literal) => {}
            _ => return Err("a template has letters, digits, `%` and -._~!$&'()+,;=:@ only"),
        }
    }
    Ok(())
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=:@".contains(&byte)
}
