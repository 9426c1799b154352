//! The pure core, by scripts: files are set and removed, events are written down.

use std::path::Path;
use std::sync::Arc;

use meltemi_model::{AuthorizationAction, Config, Defaults, PolicyTarget};

use crate::{Event, FileState};

const A: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
const B: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
const BROKEN: &str = "apiVersion: [\n";

fn service(name: &str, port: i64) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n"
    )
}

struct Script(FileState);

impl Script {
    fn new() -> Self {
        Self(FileState::new(Defaults::default()))
    }

    fn set(&mut self, path: &str, text: impl Into<String>) -> Vec<String> {
        let path: Arc<Path> = Path::new(path).into();
        self.0.set(&path, Ok(text.into()));
        self.changes()
    }

    fn remove(&mut self, path: &str) -> Vec<String> {
        self.0.remove(Path::new(path));
        self.changes()
    }

    fn changes(&mut self) -> Vec<String> {
        self.0.changes().iter().flat_map(show).collect()
    }
}

fn show(event: &Event) -> Vec<String> {
    match event {
        Event::Init => vec!["init".to_owned()],
        Event::Ready => vec!["ready".to_owned()],
        Event::Apply(config) => vec![format!("apply {}", config.id())],
        Event::Delete(id) => vec![format!("delete {id}")],
        Event::Problems(it) => {
            let new = it.new.iter().map(|problem| format!("new {problem}"));
            let resolved = it
                .resolved
                .iter()
                .map(|problem| format!("resolved {problem}"));
            new.chain(resolved).collect()
        }
    }
}

#[test]
fn resources_come_change_and_go() {
    let mut script = Script::new();
    let file = format!("{A}{}{}", service("x", 80), service("y", 80));
    assert_eq!(
        script.set("a.yaml", file.clone()),
        [
            "apply Namespace a",
            "apply Service default/x",
            "apply Service default/y"
        ]
    );
    assert_eq!(script.set("a.yaml", file), [""; 0]);
    let file = format!("# a comment moves everything down\n{A}{}", service("x", 81));
    assert_eq!(
        script.set("a.yaml", file),
        ["apply Service default/x", "delete Service default/y"]
    );
    assert_eq!(
        script.remove("a.yaml"),
        ["delete Namespace a", "delete Service default/x"]
    );
}

#[test]
fn a_broken_file_keeps_its_last_good_resources() {
    let mut script = Script::new();
    script.set("a.yaml", A);
    assert_eq!(
        script.set("a.yaml", BROKEN),
        ["new a.yaml:1: unclosed bracket '['"]
    );
    assert_eq!(script.set("b.yaml", B), ["apply Namespace b"]);
    assert_eq!(
        script.set("a.yaml", A),
        ["resolved a.yaml:1: unclosed bracket '['"]
    );
    script.set("a.yaml", BROKEN);
    assert_eq!(
        script.remove("a.yaml"),
        [
            "delete Namespace a",
            "resolved a.yaml:1: unclosed bracket '['"
        ]
    );
}

#[test]
fn an_invalid_resource_keeps_its_last_good_version_beside_good_ones() {
    let mut script = Script::new();
    script.set(
        "a.yaml",
        format!("{}{}", service("x", 80), service("y", 80)),
    );
    let wrong = format!("{}{}", service("x", 0), service("y", 81));
    let problem =
        "a.yaml:5: Service default/x: spec.ports[0].port: 0 is not a port; write 1 to 65535";
    assert_eq!(
        script.set("a.yaml", wrong.clone()),
        [
            "apply Service default/y".to_owned(),
            format!("new {problem}")
        ]
    );
    assert_eq!(
        script.set("a.yaml", format!("\n{wrong}")),
        [""; 0],
        "it only moved"
    );
    let gone = service("y", 81);
    let moved = problem.replace(":5:", ":6:");
    assert_eq!(
        script.set("a.yaml", gone),
        [
            "delete Service default/x".to_owned(),
            format!("resolved {moved}")
        ]
    );
    assert_eq!(
        script.set("b.yaml", service("z", 0)),
        ["new b.yaml:5: Service default/z: spec.ports[0].port: 0 is not a port; write 1 to 65535"],
        "what never was valid is not there"
    );
}

#[test]
fn of_two_definitions_the_first_in_path_order_holds() {
    let mut script = Script::new();
    script.set("b.yaml", service("x", 80));
    let duplicate = "Service default/x: is defined in a.yaml:2 already, which holds; remove one";
    assert_eq!(
        script.set("a.yaml", service("x", 81)),
        [
            "apply Service default/x".to_owned(),
            format!("new b.yaml:2: {duplicate}")
        ]
    );
    assert_eq!(
        script.remove("a.yaml"),
        [
            "apply Service default/x".to_owned(),
            format!("resolved b.yaml:2: {duplicate}")
        ]
    );
    assert_eq!(
        script.set(
            "b.yaml",
            format!("{}{}", service("x", 80), service("x", 81))
        ),
        [
            "new b.yaml:7: Service default/x: is defined in b.yaml:2 already, which holds; remove one"
        ]
    );
}

#[test]
fn a_resource_moves_between_files_unnoticed() {
    let mut script = Script::new();
    script.set("a.yaml", service("x", 80));
    script.0.remove(Path::new("a.yaml"));
    assert_eq!(script.set("b.yaml", service("x", 80)), [""; 0]);
}

#[test]
fn an_unknown_kind_is_named_once() {
    let mut script = Script::new();
    let file = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n";
    let named = "new a.yaml:1: Thing default/a: kind Thing (example.com/v1) is not supported yet";
    assert_eq!(script.set("a.yaml", file), [named]);
    assert_eq!(
        script.set("a.yaml", format!("{file}{}", service("x", 80))),
        ["apply Service default/x"]
    );
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_resources() {
    let mut script = Script::new();
    script.set("a.yaml", A);
    script.0.set(
        &Path::new("a.yaml").into(),
        Err("permission denied".to_owned()),
    );
    assert_eq!(
        script.changes(),
        ["new a.yaml: cannot be read: permission denied"]
    );
}

#[test]
fn a_policy_that_was_never_valid_keeps_its_door_shut() {
    let policy = |action: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
             metadata: {{name: guard, namespace: shop}}\n\
             spec: {{selector: {{matchLabels: {{app: web}}}}, action: {action}, rules: [{{}}]}}\n"
        )
    };
    let mut script = Script::new();
    // As it is wrong from the beginning, nobody gets in, and the problem says so.
    let said = script.set("a.yaml", policy("ALOW"));
    assert_eq!(said[0], "apply AuthorizationPolicy shop/guard");
    assert!(
        said[1].contains("did you mean ALLOW?; until it is right, it denies"),
        "{said:?}"
    );
    let (action, selector) = guard(&script);
    assert_eq!(action, AuthorizationAction::Deny);
    assert_eq!(selector, "app=web");
    // It stays so while it is wrong in another way.
    let said = script.set("a.yaml", policy("ALLO"));
    assert!(said[0].contains("it denies every request"), "{said:?}");
    script.set("a.yaml", policy("ALLOW"));
    assert_eq!(guard(&script).0, AuthorizationAction::Allow);
    // Once it was right, that holds on.
    let said = script.set("a.yaml", policy("ALOW"));
    assert!(!said[0].contains("denies"), "{said:?}");
    assert_eq!(guard(&script).0, AuthorizationAction::Allow);
}

#[test]
fn where_nobody_can_tell_for_whom_a_policy_is_it_is_for_all() {
    let mut script = Script::new();
    script.set(
        "a.yaml",
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {name: guard, namespace: shop}\n\
         spec: {selector: {matchLabels: {app: [web]}}, rules: [{}]}\n",
    );
    assert_eq!(guard(&script), (AuthorizationAction::Deny, String::new()));
    let said = script.set(
        "b.yaml",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRIKT}}\n",
    );
    assert!(
        said[1].contains("mutual TLS is required of every caller"),
        "{said:?}"
    );
}

/// What the policy of these scripts does, and for whom.
fn guard(script: &Script) -> (AuthorizationAction, String) {
    let found = script
        .0
        .resources()
        .find_map(|config| match config.as_ref() {
            Config::AuthorizationPolicy(policy) => Some(policy.clone()),
            _ => None,
        });
    let policy = found.unwrap();
    let PolicyTarget::Workloads(selector) = &policy.target else {
        panic!("{policy:?}");
    };
    let pairs = selector.iter().map(|(key, value)| format!("{key}={value}"));
    (policy.action, pairs.collect::<Vec<_>>().join(","))
}

#[test]
fn a_mesh_configuration_holds_without_what_is_not_supported_yet() {
    let mesh = |option: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    connectTimeout: 3s\n    {option}\n"
        )
    };
    let mut script = Script::new();
    assert_eq!(
        script.set("mesh.yaml", mesh("enableTracing: true")),
        [
            "apply MeshConfig istio-system/istio",
            "new mesh.yaml:7: ConfigMap istio-system/istio: data[mesh].enableTracing: \
             `enableTracing` is not supported yet",
        ]
    );
    // Without this one somebody might see what is not for them: the last good configuration stays.
    let events = script.set("mesh.yaml", mesh("caCertificates: []"));
    assert!(
        events.iter().all(|it| !it.starts_with("apply")),
        "{events:?}"
    );
    assert!(events.iter().any(|it| it.contains("caCertificates")));
}

#[test]
fn a_change_says_what_it_changes_and_a_lasting_problem_is_said_once() {
    let mut script = Script::new();
    for number in 0..100 {
        script.set(
            &format!("{number}.yaml"),
            service(&format!("x-{number}"), 80),
        );
    }
    script.set("twice.yaml", service("x-7", 80));
    let mut said = Vec::new();
    for turn in 0..600 {
        let port = 81 + turn % 2;
        said.extend(script.set("7.yaml", service("x-7", port)));
        said.extend(script.set("8.yaml", format!("a: [{turn}\n")));
    }
    let problems: Vec<_> = said.iter().filter(|it| !it.starts_with("apply")).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(said.len(), 600 + 1);
    let rest = script.remove("7.yaml");
    assert_eq!(rest.len(), 2, "the other one holds now: {rest:?}");
}
