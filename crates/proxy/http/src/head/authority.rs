//! Authorities in the two forms that they have: as a URI has them and as a header has them. The last
//! one of a thread is remembered in both, for most requests are for the host of the one before.

use std::cell::RefCell;

use http::header::{HeaderValue, InvalidHeaderValue};
use http::uri::Authority;

thread_local! {
    static LAST: RefCell<Option<(Authority, HeaderValue)>> = const { RefCell::new(None) };
}

/// As a header has it.
pub(super) fn to_value(authority: &Authority) -> Result<HeaderValue, InvalidHeaderValue> {
    LAST.with_borrow_mut(|last| match last {
        // authorities compare without regard to case
        Some((known, value)) if known.as_str() == authority.as_str() => Ok(value.clone()),
        last => {
            let value = HeaderValue::from_str(authority.as_str())?;
            *last = Some((authority.clone(), value.clone()));
            Ok(value)
        }
    })
}

/// As a URI has it, if it is one.
pub(super) fn from_value(value: &HeaderValue) -> Option<Authority> {
    LAST.with_borrow_mut(|last| match last {
        Some((authority, known)) if known == value => Some(authority.clone()),
        last => {
            let authority = Authority::try_from(value.as_bytes()).ok()?;
            *last = Some((authority.clone(), value.clone()));
            Some(authority)
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_form_is_that_of_the_authority_asked_for() {
        for text in [
            "a.test",
            "A.test",
            "a.test",
            "a.test:80",
            "b.test",
            "[::1]:1",
        ] {
            let authority = Authority::from_static(text);
            for _ in 0..2 {
                let value = to_value(&authority).unwrap();
                assert_eq!(value, text);
                assert_eq!(from_value(&value).unwrap().as_str(), text);
            }
        }
        let upper = HeaderValue::from_static("UPPER.test");
        assert_eq!(from_value(&upper).unwrap().as_str(), "UPPER.test");
        assert_eq!(
            to_value(&Authority::from_static("upper.test")).unwrap(),
            "upper.test"
        );
        assert_eq!(from_value(&HeaderValue::from_static("not valid/")), None);
    }
}
