//! StringMatch: from written to valid.

use meltemi_api::{FieldPath, virtual_service as api};

use super::StringMatch;
use crate::check::Check;

/// Checks a StringMatch; `Ok(None)` if nothing is written in it, `Err` if it is wrong.
pub(crate) fn convert(
    written: &api::StringMatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Result<Option<StringMatch>, ()> {
    let api::StringMatch {
        exact,
        prefix,
        regex,
    } = written;
    match (exact, prefix, regex) {
        (None, None, None) => Ok(None),
        (Some(exact), None, None) => Ok(Some(StringMatch::Exact(exact.clone()))),
        (None, Some(prefix), None) if prefix.is_empty() => {
            check.invalid(
                &at.field("prefix"),
                "an empty prefix matches everything; leave it out",
            );
            Err(())
        }
        (None, Some(prefix), None) => Ok(Some(StringMatch::Prefix(prefix.clone()))),
        (None, None, Some(regex)) => {
            check.regex(&at.field("regex"), regex);
            Ok(Some(StringMatch::Regex(regex.clone())))
        }
        _ => {
            check.invalid(at, "has more than one of exact, prefix and regex; keep one");
            Err(())
        }
    }
}

/// Checks a StringMatch that must say something.
pub(crate) fn required(
    written: &api::StringMatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<StringMatch> {
    let converted = convert(written, at, check);
    if converted == Ok(None) {
        check.invalid(at, "says nothing; write one of exact, prefix and regex");
    }
    converted.ok().flatten()
}
