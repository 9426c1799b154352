//! Paths and the limit on problems.

use crate::path::Problems;
use crate::{ConfigErrors, fields::Given as _};

#[test]
fn a_path_names_fields_elements_and_keys() {
    let errors = Problems::collect::<()>(|at| {
        at.field("listeners")
            .index(3)
            .field("r#match")
            .problem("is wrong");
        at.field("options").key("a.b").field("x").refuse("");
        at.problem("all of it");
        None
    })
    .unwrap_err();
    assert_eq!(
        errors.to_string(),
        "listeners[3].match: is wrong; options[\"a.b\"].x: is not supported; all of it"
    );
}

#[test]
fn no_more_than_twenty_problems_are_kept() {
    let errors = Problems::collect(|at| {
        for index in 0..30 {
            at.index(index).problem("is wrong");
        }
        Some(())
    })
    .unwrap_err();
    assert_eq!(errors.errors.len(), ConfigErrors::LIMIT);
    assert_eq!(errors.more, 10);
    assert!(
        errors
            .to_string()
            .ends_with("; [19]: is wrong; and 10 more")
    );
}

#[test]
fn a_default_is_not_given() {
    assert!(!false.is_given() && !0u32.is_given() && !String::new().is_given());
    assert!(!None::<bool>.is_given() && Some(false).is_given() && vec![0].is_given());
}
