//! Scripts of messages: what they make of the whole.

use meltemi_model::Defaults;
use serde_json::{Value, json};

use super::{policy, say, service};
use crate::cluster::Cluster;
use crate::course::Message;
use crate::kind::KINDS;

struct Script(Cluster);

fn index(plural: &str) -> usize {
    KINDS.iter().position(|it| it.plural == plural).unwrap()
}

impl Script {
    /// Everything but what is named is known to be absent.
    fn without(plurals: &[&str]) -> Self {
        let cluster = Cluster::new("https://api".to_owned(), Defaults::default());
        let mut script = Self(cluster);
        assert_eq!(script.changes(), ["init"]);
        for (index, kind) in KINDS.iter().enumerate() {
            if !plurals.contains(&kind.plural) {
                script.0.take(index, Message::Absent);
            }
        }
        script
    }

    fn changes(&mut self) -> Vec<String> {
        self.0.changes().iter().map(say).collect()
    }

    fn hear(&mut self, plural: &str, messages: Vec<Message>) -> Vec<String> {
        for message in messages {
            self.0.take(index(plural), message);
        }
        self.changes()
    }

    /// The whole of a kind.
    fn list(&mut self, plural: &str, objects: Vec<Value>) -> Vec<String> {
        let mut messages = vec![Message::Found, Message::Begin];
        messages.extend(objects.into_iter().map(Message::Object));
        messages.push(Message::Complete);
        self.hear(plural, messages)
    }
}

#[test]
fn it_is_ready_when_every_kind_is_known() {
    let mut script = Script::without(&["services", "gateways"]);
    assert!(script.changes().is_empty());
    let begun = vec![
        Message::Found,
        Message::Begin,
        Message::Object(service("a", 1)),
    ];
    assert_eq!(script.hear("services", begun), ["apply Service shop/a"]);
    assert!(script.hear("services", vec![Message::Complete]).is_empty());
    assert_eq!(script.hear("gateways", vec![Message::Absent]), ["ready"]);
}

#[test]
fn what_comes_again_as_it_was_is_no_event_and_what_does_not_come_is_gone() {
    let mut script = Script::without(&["services"]);
    let first = script.list(
        "services",
        vec![service("a", 1), service("b", 2), service("c", 3)],
    );
    assert_eq!(first.last().unwrap(), "ready");
    // The server has forgotten where we were: a changed, b vanished, c is as it was, d is new.
    let again = script.list(
        "services",
        vec![service("a", 4), service("c", 3), service("d", 5)],
    );
    let expected = [
        "apply Service shop/a",
        "apply Service shop/d",
        "delete Service shop/b",
    ];
    assert_eq!(again, expected);
    // A list that is cut off takes nothing away, and neither does the beginning of the next one.
    let cut = vec![
        Message::Begin,
        Message::Object(service("a", 4)),
        Message::Begin,
    ];
    assert!(script.hear("services", cut).is_empty());
    let gone = vec![
        Message::Object(service("a", 4)),
        Message::Gone(service("c", 6)),
        Message::Complete,
    ];
    let expected = ["delete Service shop/c", "delete Service shop/d"];
    assert_eq!(script.hear("services", gone), expected);
    // A new version with nothing new in it.
    let mut same = service("a", 4);
    same["metadata"]["resourceVersion"] = "9".into();
    same["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    same["status"] = json!({ "loadBalancer": {} });
    assert!(
        script
            .hear("services", vec![Message::Object(same)])
            .is_empty()
    );
}

#[test]
fn a_burst_is_one_change_and_twice_the_same_is_once() {
    let mut script = Script::without(&["services"]);
    script.list("services", vec![]);
    let burst = vec![
        Message::Object(service("a", 1)),
        Message::Object(service("a", 1)),
        Message::Object(service("a", 2)),
        Message::Object(service("b", 3)),
        Message::Gone(service("b", 4)),
    ];
    assert_eq!(script.hear("services", burst), ["apply Service shop/a"]);
    assert!(
        script
            .hear("services", vec![Message::Gone(service("z", 5))])
            .is_empty()
    );
}

#[test]
fn the_rules_for_bad_input_are_those_of_files() {
    let mut script = Script::without(&["services", "authorizationpolicies"]);
    script.list("services", vec![service("a", 1)]);
    // Never valid: what it was to guard is shut.
    let first = script.list("authorizationpolicies", vec![policy("p", 2, "ALOW")]);
    assert_eq!(first[0], "apply AuthorizationPolicy shop/p");
    let problem = &first[1];
    let place =
        "new kubernetes/shop/AuthorizationPolicy/p: AuthorizationPolicy shop/p: spec.action: ";
    assert!(problem.starts_with(place), "{problem}");
    assert!(problem.contains("denies every request"), "{problem}");
    // Right, and then wrong again: the last good one holds.
    let right = Message::Object(policy("p", 3, "ALLOW"));
    assert_eq!(script.hear("authorizationpolicies", vec![right]).len(), 2);
    let wrong = Message::Object(policy("p", 4, "ALOW"));
    let said = script.hear("authorizationpolicies", vec![wrong]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("new "), "{said:?}");
    // The same fault in another version is not said again.
    let wrong = Message::Object(policy("p", 5, "ALOW"));
    assert!(script.hear("authorizationpolicies", vec![wrong]).is_empty());
    let gone = Message::Gone(policy("p", 6, "ALOW"));
    let said = script.hear("authorizationpolicies", vec![gone]);
    assert_eq!(said[0], "delete AuthorizationPolicy shop/p");
    assert!(said[1].starts_with("resolved "), "{said:?}");
}

#[test]
fn what_may_not_be_seen_names_the_rule_and_only_guards_hold_up_the_start() {
    let mut script = Script::without(&["gateways", "authorizationpolicies"]);
    let forbidden = || {
        vec![
            Message::Found,
            Message::Forbidden("User \"x\" cannot list".to_owned()),
        ]
    };
    let said = script.hear("gateways", forbidden());
    let rule = "new kubernetes/gateways.networking.istio.io: cannot be read: User \"x\" cannot list; let the \
                control plane in by a rule with apiGroups [\"networking.istio.io\"], resources [\"gateways\"], \
                verbs [get, list, watch]";
    assert_eq!(said, [rule]);
    assert!(
        script.hear("gateways", forbidden()).is_empty(),
        "it is said once"
    );
    let said = script.hear("authorizationpolicies", forbidden());
    assert!(
        said[0].ends_with("; until then it is not ready"),
        "{said:?}"
    );
    assert_eq!(said.len(), 1);
    let said = script.list("authorizationpolicies", vec![policy("p", 1, "ALLOW")]);
    assert_eq!(said[0], "apply AuthorizationPolicy shop/p");
    assert!(
        said[1].starts_with("resolved kubernetes/authorizationpolicies"),
        "{said:?}"
    );
    assert_eq!(said[2], "ready");
    // What was known before it was taken away holds on.
    let said = script.hear("authorizationpolicies", forbidden());
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("new ") && !said[0].contains("not ready"),
        "{said:?}"
    );
}

#[test]
fn a_kind_that_is_taken_away_is_gone() {
    let mut script = Script::without(&["authorizationpolicies"]);
    script.list("authorizationpolicies", vec![policy("p", 1, "ALLOW")]);
    let said = script.hear(
        "authorizationpolicies",
        vec![Message::Found, Message::Absent],
    );
    assert_eq!(said, ["delete AuthorizationPolicy shop/p"]);
}

#[test]
fn a_server_that_is_gone_is_said_once_and_so_is_its_return() {
    let mut script = Script::without(&["services", "pods"]);
    script.list("services", vec![service("a", 1)]);
    script.list("pods", vec![]);
    let lost = |reason: &str| vec![Message::Lost(reason.to_owned())];
    let said = script.hear("services", lost("connection refused"));
    let expected = "new kubernetes: cannot be read: services from https://api: connection refused; what is \
                    known holds on, and it is asked again";
    assert_eq!(said, [expected]);
    assert!(script.hear("pods", lost("connection refused")).is_empty());
    assert!(script.hear("services", lost("no answer")).is_empty());
    assert!(
        script.hear("services", vec![Message::Found]).is_empty(),
        "pods are still lost"
    );
    let said = script.hear("pods", vec![Message::Found]);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("resolved kubernetes: "), "{said:?}");
}
