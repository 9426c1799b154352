//! Scripts of answers: what is asked next, and what is heard.

use serde_json::{Value, json};

use super::service;
use crate::course::{Course, Message, Next};
use crate::kind::{KINDS, MeshConfigPlace, WatchedKind};

fn kind(plural: &str) -> &'static WatchedKind {
    KINDS.iter().find(|it| it.plural == plural).unwrap()
}

fn course(plural: &str) -> Course {
    let mesh_config = MeshConfigPlace {
        namespace: "istio-system".into(),
        name: "istio-canary".to_owned(),
    };
    Course::new(kind(plural), mesh_config)
}

fn path(course: &Course) -> String {
    course.question(300).path
}

fn line(course: &mut Course, kind: &str, object: Value) -> (Vec<Message>, Option<Next>) {
    let line = json!({ "type": kind, "object": object });
    course.line(line.to_string().as_bytes())
}

fn bookmark(version: u32, end: bool) -> Value {
    let annotations = match end {
        true => json!({ "k8s.io/initial-events-end": "true" }),
        false => json!({}),
    };
    json!({ "metadata": { "resourceVersion": version.to_string(), "annotations": annotations } })
}

const FIRST: &str = "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&\
                     sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
const WATCH: &str =
    "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=";

#[test]
fn a_streaming_list_goes_over_into_a_watch_and_is_resumed_from_the_last_bookmark() {
    let mut course = course("services");
    assert_eq!(path(&course), FIRST);
    assert_eq!(course.accepted(), [Message::Found, Message::Begin]);
    let added = line(&mut course, "ADDED", service("a", 7));
    assert_eq!(added, (vec![Message::Object(service("a", 7))], None));
    assert_eq!(
        line(&mut course, "BOOKMARK", bookmark(8, false)),
        (vec![], None)
    );
    assert!(course.is_streaming_first());
    let ended = line(&mut course, "BOOKMARK", bookmark(9, true));
    assert_eq!(ended, (vec![Message::Complete], None));
    course.ended();
    assert_eq!(path(&course), format!("{WATCH}9"));
    assert_eq!(course.accepted(), [Message::Found]);
    line(&mut course, "MODIFIED", service("a", 10));
    course.ended();
    assert_eq!(path(&course), format!("{WATCH}10"));
    let gone = line(&mut course, "DELETED", service("a", 11));
    assert_eq!(gone, (vec![Message::Gone(service("a", 11))], None));
    line(&mut course, "BOOKMARK", bookmark(20, false));
    course.failed("refused".to_owned());
    assert_eq!(path(&course), format!("{WATCH}20"));
}

#[test]
fn pages_where_there_are_no_streaming_lists() {
    let mut course = course("services");
    let refused = course.refused(422, &json!({ "message": "sendInitialEvents is forbidden" }));
    assert_eq!(refused, (vec![], Some(Next::Now)));
    assert_eq!(path(&course), "/api/v1/services?limit=500");
    assert_eq!(course.accepted(), [Message::Found, Message::Begin]);
    // Items of a list do not say what they are.
    let mut item = service("a", 1);
    item.as_object_mut()
        .unwrap()
        .retain(|key, _| key == "metadata" || key == "spec");
    let page =
        json!({ "metadata": { "continue": "x/y", "resourceVersion": "5" }, "items": [item] });
    let heard = course.page(serde_json::from_value(page).unwrap());
    assert_eq!(heard, [Message::Object(service("a", 1))]);
    assert_eq!(path(&course), "/api/v1/services?limit=500&continue=x%2Fy");
    assert_eq!(course.accepted(), [Message::Found]);
    let page = json!({ "metadata": { "resourceVersion": "6" }, "items": null });
    assert_eq!(
        course.page(serde_json::from_value(page).unwrap()),
        [Message::Complete]
    );
    assert_eq!(path(&course), format!("{WATCH}6"));
}

#[test]
fn a_page_that_comes_too_late_and_a_place_that_is_too_old_begin_again() {
    let mut course = course("services");
    course.accepted();
    line(&mut course, "BOOKMARK", bookmark(9, true));
    let too_old = json!({ "code": 410, "message": "too old" });
    let said = line(&mut course, "ERROR", too_old.clone());
    assert_eq!(said, (vec![Message::Found], Some(Next::Now)));
    assert_eq!(path(&course), FIRST);
    let again = course.refused(410, &too_old);
    assert_eq!(again.1, Some(Next::Later), "not in a circle without a rest");
    course.accepted();
    line(&mut course, "ADDED", service("a", 7));
    line(&mut course, "BOOKMARK", bookmark(9, true));
    assert_eq!(line(&mut course, "ERROR", too_old).1, Some(Next::Now));
}

#[test]
fn a_stream_that_never_says_that_it_was_all_is_no_streaming_list() {
    let mut course = course("services");
    course.accepted();
    line(&mut course, "ADDED", service("a", 7));
    course.ended();
    assert_eq!(path(&course), "/api/v1/services?limit=500");
}

#[test]
fn versions_are_tried_in_turn_and_then_the_kind_is_absent() {
    let mut course = course("virtualservices");
    let missing = json!({ "message": "the server could not find the requested resource" });
    for version in ["v1", "v1beta1"] {
        assert!(path(&course).starts_with(&format!(
            "/apis/networking.istio.io/{version}/virtualservices?"
        )));
        assert_eq!(
            course.refused(404, &missing),
            (vec![Message::Found], Some(Next::Now))
        );
    }
    assert!(path(&course).starts_with("/apis/networking.istio.io/v1alpha3/"));
    let absent = (vec![Message::Found, Message::Absent], Some(Next::Seldom));
    assert_eq!(course.refused(404, &missing), absent);
    assert!(
        path(&course).starts_with("/apis/networking.istio.io/v1/"),
        "looked for again"
    );
    // One that is taken away while it is watched.
    course.accepted();
    line(&mut course, "BOOKMARK", bookmark(9, true));
    assert_eq!(course.refused(404, &missing), (vec![], Some(Next::Now)));
    assert!(path(&course).contains("sendInitialEvents"));
}

#[test]
fn refusals_say_whether_it_is_worth_asking_again() {
    let said = |code: u64| {
        let mut course = course("services");
        course.accepted();
        line(&mut course, "BOOKMARK", bookmark(9, true));
        let (messages, next) = course.refused(code, &json!({ "message": "no" }));
        (messages, next, path(&course))
    };
    let (messages, next, _) = said(403);
    assert_eq!(
        messages,
        [Message::Found, Message::Forbidden("no".to_owned())]
    );
    assert_eq!(next, Some(Next::Seldom));
    for code in [401, 429, 500, 503] {
        let (messages, next, path) = said(code);
        assert_eq!(
            messages,
            [Message::Lost(format!("the answer is {code}: no"))]
        );
        assert_eq!(next, Some(Next::Later));
        assert_eq!(path, format!("{WATCH}9"), "from where it was");
    }
}

#[test]
fn only_what_is_read_is_asked_for() {
    let secrets = path(&course("secrets"));
    assert!(
        secrets.contains("fieldSelector=type%21%3Dhelm.sh%2Frelease.v1%2C"),
        "{secrets}"
    );
    let maps = path(&course("configmaps"));
    let place =
        "/api/v1/namespaces/istio-system/configmaps?fieldSelector=metadata.name%3Distio-canary&";
    assert!(maps.starts_with(place), "{maps}");
}
