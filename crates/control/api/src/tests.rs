#![allow(clippy::unwrap_used)]

use crate::virtual_service::VirtualServiceSpec;
use crate::{Document, FieldPath, Strictness, field_paths, nearest, parse};

const ROUTING: &str = "\
# a comment
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: catalog
  labels: {app: catalog}
spec:
  hosts: [catalog]
  http:
  - match:
    - ignore_uri_case: yes
      headers:
        x-cohort:
          exact: internal
    route:
    - destination:
        host: catalog
        port: {number: \"80\"}
      weight: 90
    - destination:
        hosst: catalog
      wait: 10
    timeout: 5
---
---
apiVersion: v1
kind: List
items:
- kind: Namespace
  apiVersion: v1
  metadata: {name: a}
- kind: Namespace
  apiVersion: v1
  metadata: {name: b}
";

fn documents() -> Vec<Document> {
    parse(None, ROUTING).unwrap()
}

#[test]
fn takes_documents_and_lists_apart() {
    let kinds: Vec<_> = documents()
        .iter()
        .map(|it| format!("{} {}", it.kind, it.metadata().value.name))
        .collect();
    assert_eq!(
        kinds,
        ["VirtualService catalog", "Namespace a", "Namespace b"]
    );
    assert_eq!(documents()[0].group(), "networking.istio.io");
    assert_eq!(documents()[0].version(), "v1");
    assert_eq!(
        (documents()[1].group(), documents()[1].version()),
        ("", "v1")
    );
}

#[test]
fn reports_every_fault_of_form_with_its_line() {
    let document = &documents()[0];
    let spec = document.section::<VirtualServiceSpec>("spec", Strictness::Strict);
    let mut faults: Vec<_> = spec
        .faults
        .iter()
        .map(|(path, message)| format!("{}: {path}: {message}", document.line_of(path)))
        .collect();
    faults.sort();
    assert_eq!(
        faults,
        [
            "21: spec.http[0].route[1].destination.hosst: unknown field; did you mean `host`?",
            "22: spec.http[0].route[1].wait: unknown field; known here: destination, weight, headers",
            "23: spec.http[0].timeout: expected text (put it in quotes), found the number 5",
        ]
    );
    let route = &spec.value.http[0];
    assert!(
        route.r#match[0].ignore_uri_case,
        "snake case and a YAML 1.1 boolean"
    );
    assert_eq!(route.route[0].weight, Some(90));
    assert_eq!(
        route.route[0]
            .destination
            .as_ref()
            .unwrap()
            .port
            .as_ref()
            .unwrap()
            .number,
        Some(80)
    );
    assert_eq!(route.timeout, None);
}

#[test]
fn finds_lines_of_fields_written_and_missing() {
    let document = &documents()[0];
    let route = FieldPath::root()
        .field("spec")
        .field("http")
        .index(0)
        .field("route");
    assert_eq!(document.line_of(&route.index(0).field("destination")), 16);
    assert_eq!(
        document.line_of(&route.index(0).field("destination").field("host")),
        17
    );
    assert_eq!(document.line_of(&route.index(1).field("headers")), 20);
    let header = FieldPath::root()
        .field("spec")
        .field("http")
        .index(0)
        .field("match")
        .index(0);
    assert_eq!(
        document.line_of(&header.field("headers").key("x-cohort")),
        13
    );
    assert_eq!(document.line_of(&header.field("ignoreUriCase")), 11);
}

#[test]
fn a_broken_text_is_one_problem_with_a_line() {
    let problem = parse(None, "a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
    assert!(problem.line.is_some(), "{problem}");
    let problem = parse(None, "a: 1\na: 2\n").unwrap_err();
    assert_eq!(problem.line, Some(2), "{problem}");
}

#[test]
fn nested_text_keeps_the_lines_of_the_file() {
    let text = "kind: ConfigMap\ndata:\n  mesh: |-\n    trustDomain: a\n    rootNamespace: b\n";
    let document = &parse(None, text).unwrap()[0];
    let path = FieldPath::root().field("data").key("mesh");
    let mesh = document.nested(&path, "MeshConfig").unwrap().unwrap();
    assert_eq!(mesh.line_of(&FieldPath::root().field("rootNamespace")), 5);
}

#[test]
fn suggests_only_what_is_near() {
    let known = ["timeout", "retries", "corsPolicy"];
    assert_eq!(nearest("timout", known), Some("timeout"));
    assert_eq!(nearest("cors_policy", known), Some("corsPolicy"));
    assert_eq!(nearest("retires", known), Some("retries"));
    assert_eq!(nearest("fnord", known), None);
}

#[test]
fn lists_the_fields_of_a_type() {
    let fields = field_paths::<VirtualServiceSpec>("spec");
    for field in [
        "spec.hosts",
        "spec.http[].match[].headers[*].exact",
        "spec.http[].retries.backoff",
    ] {
        assert!(
            fields.iter().any(|it| it == field),
            "{field} not in {fields:#?}"
        );
    }
}
