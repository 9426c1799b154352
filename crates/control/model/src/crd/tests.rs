//! The definitions fit the resources that people write, and the conversions.

use std::path::Path;

use meltemi_api::{Document, Node, parse};
use serde_json::Value;

use super::*;

/// What a resource breaks of a schema; CEL rules are an API server's.
fn faults(node: &Node, schema: &Value, path: &str, found: &mut Vec<String>) {
    use meltemi_api::Value as Written;
    let kind = schema.get("type").and_then(Value::as_str);
    if let Some(list) = schema.get("enum").and_then(Value::as_array)
        && !list.iter().any(|it| it.as_str() == node.as_text())
    {
        found.push(format!("{path}: not in {list:?}"));
    }
    match (&node.value, kind) {
        (_, None) | (Written::Null, _) => {}
        (Written::Map(entries), Some("object")) => {
            for name in schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if !entries
                    .iter()
                    .any(|it| Some(it.key.as_str()) == name.as_str())
                {
                    found.push(format!("{path}: {name} is missing"));
                }
            }
            for entry in entries {
                let inner = schema.get("properties").and_then(|it| it.get(&entry.key));
                match inner.or_else(|| schema.get("additionalProperties")) {
                    Some(inner) => {
                        faults(&entry.node, inner, &format!("{path}.{}", entry.key), found);
                    }
                    None => found.push(format!("{path}: unknown field {}", entry.key)),
                }
            }
        }
        (Written::List(items), Some("array")) => {
            for (at, item) in items.iter().enumerate() {
                faults(item, &schema["items"], &format!("{path}[{at}]"), found);
            }
        }
        (Written::Text(_), Some("string"))
        | (Written::Int(_), Some("integer" | "number"))
        | (Written::Float(_), Some("number"))
        | (Written::Bool(_), Some("boolean")) => {}
        (value, Some(kind)) => found.push(format!("{path}: {value:?} is no {kind}")),
    }
}

fn check(definitions: &[Value], document: &Document) -> Option<Vec<String>> {
    let it = definitions.iter().find(|it| {
        it["spec"]["names"]["kind"] == document.kind.as_str()
            && it["spec"]["group"] == document.group()
    })?;
    let schema = &it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    if let Some(spec) = document.root().get("spec") {
        faults(spec, schema, "spec", &mut found);
    }
    Some(found)
}

#[test]
fn every_schema_is_structural() {
    fn walk(schema: &Value, path: &str) {
        let any = schema.get("x-kubernetes-preserve-unknown-fields").is_some();
        assert!(any || schema.get("type").is_some(), "{path}");
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            walk(inner, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                walk(inner, &format!("{path}[]"));
            }
        }
    }
    for it in crds() {
        let name = it["metadata"]["name"].as_str().expect("a name").to_owned();
        let versions = it["spec"]["versions"].as_array().expect("versions");
        assert_eq!(
            versions.iter().filter(|it| it["storage"] == true).count(),
            1
        );
        walk(&versions[0]["schema"]["openAPIV3Schema"], &name);
    }
}

#[test]
fn what_the_book_has_fits() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data/book");
    if !book.exists() {
        eprintln!("SKIPPED: {} is not there", book.display());
        return;
    }
    let definitions = crds();
    let mut open = vec![book];
    let mut fitting = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|it| it.expect("an entry").path()));
            continue;
        }
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        for document in parse(None, &text).unwrap_or_default() {
            if let Some(found) = check(&definitions, &document) {
                assert!(found.is_empty(), "{}: {found:?}", path.display());
                fitting += 1;
            }
        }
    }
    assert!(fitting > 20, "{fitting}");
}

#[test]
fn what_does_not_fit_is_found() {
    let text = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a }
spec: { trafficPolicy: { tls: { mode: SIMPLY } }, subsets: [{ nam: a }] }
";
    let documents = parse(None, text).expect("YAML");
    let found = check(&crds(), &documents[0]).expect("a known kind");
    let expected = [
        "spec: \"host\" is missing",
        "spec.trafficPolicy.tls.mode: not in",
        "spec.subsets[0]: \"name\" is missing",
        "spec.subsets[0]: unknown field nam",
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}
