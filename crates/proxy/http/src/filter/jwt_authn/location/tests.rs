//! Text that tokens are found in, and taken away from.

use super::{after, parameter, without_parameter};

#[test]
fn a_token_begins_after_its_prefix() {
    assert_eq!(after("Bearer a.b.c", "Bearer "), Some("a.b.c"));
    assert_eq!(
        after("x Bearer  ?a.b.c rest", "Bearer "),
        Some("a.b.c rest")
    );
    assert_eq!(after("bearer a.b.c", "Bearer "), None);
    assert_eq!(after("Bearer ???", "Bearer "), Some("Bearer ???"));
    assert_eq!(after("anything", ""), Some("anything"));
}

#[test]
fn a_parameter_is_found_decoded() {
    assert_eq!(parameter("/a?t=x%2Ey&t=z", "t").as_deref(), Some("x.y"));
    assert_eq!(parameter("/a?%74=1", "t").as_deref(), Some("1"));
    assert_eq!(parameter("/a?t", "t").as_deref(), Some(""));
    assert_eq!(parameter("/t=1", "t"), None);
}

#[test]
fn the_other_parameters_stay() {
    assert_eq!(without_parameter("/a?t=1", "t"), "/a");
    assert_eq!(without_parameter("/a?z=1&t=2&b=3&%74=4", "t"), "/a?b=3&z=1");
    assert_eq!(without_parameter("/a?q=%20&t=1", "t"), "/a?q=%20");
}
