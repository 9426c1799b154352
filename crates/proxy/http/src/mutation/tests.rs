#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_ir::{AppendAction, HeaderAppend, HeaderMutation, HeaderTarget};

use super::{Mutation, NoPseudo};

fn apply(action: AppendAction, value: &str, keep_empty: bool, before: &[&str]) -> Vec<String> {
    let name = HeaderName::from_static("x-a");
    let mutation = Mutation::new(&HeaderMutation {
        remove: vec![HeaderName::from_static("x-gone")],
        add: vec![HeaderAppend {
            name: HeaderTarget::Name(name.clone()),
            value: value.to_owned(),
            literal: Some(HeaderValue::from_str(value).unwrap()),
            action,
            keep_empty,
        }],
    })
    .unwrap();
    assert!(!mutation.needs_record());
    let mut headers = HeaderMap::new();
    headers.insert("x-gone", HeaderValue::from_static("1"));
    for value in before {
        headers.append(&name, HeaderValue::from_str(value).unwrap());
    }
    mutation.apply(&mut headers, &mut NoPseudo, Vec::new());
    assert!(!headers.contains_key("x-gone"));
    let values = headers.get_all(&name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_action_does_as_it_is_called() {
    for (action, absent, present) in [
        (AppendAction::AppendOrAdd, vec!["new"], vec!["old", "new"]),
        (AppendAction::AddIfAbsent, vec!["new"], vec!["old"]),
        (AppendAction::OverwriteOrAdd, vec!["new"], vec!["new"]),
        (AppendAction::OverwriteIfExists, vec![], vec!["new"]),
    ] {
        assert_eq!(apply(action, "new", false, &[]), absent, "{action:?}");
        assert_eq!(apply(action, "new", false, &["old"]), present, "{action:?}");
    }
    assert!(apply(AppendAction::AppendOrAdd, "", false, &[]).is_empty());
    assert_eq!(apply(AppendAction::AppendOrAdd, "", true, &[]), [""]);
}

#[test]
fn a_bad_format_is_refused_with_its_place() {
    let error = Mutation::new(&HeaderMutation {
        remove: Vec::new(),
        add: vec![HeaderAppend {
            name: HeaderTarget::Authority,
            value: "%NO_SUCH_OPERATOR%".to_owned(),
            literal: None,
            action: AppendAction::OverwriteOrAdd,
            keep_empty: false,
        }],
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("add[0].value: "), "{error}");
}
