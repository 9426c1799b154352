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

/// An API server reckons an expression's cost from the bounds of what it goes over.
#[test]
fn what_expressions_go_over_is_bounded() {
    fn walk(schema: &Value, bounded: bool, path: &str) {
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = rule["rule"].as_str().expect("an expression");
            let over = text.contains(".all(") || text.contains(".contains(");
            let ports = path.ends_with(".portLevelMtls");
            assert!(bounded || ports || !over, "{path}: {text}");
            if text.contains("addresses.exists(") {
                let addresses = &schema["properties"]["addresses"];
                assert!(addresses.get("maxItems").is_some(), "{path}: {text}");
                assert!(
                    addresses["items"].get("maxLength").is_some(),
                    "{path}: {text}"
                );
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            let bounds = ["maxItems", "maxProperties", "maxLength"];
            let bounded = bounds.iter().any(|it| inner.get(it).is_some());
            walk(inner, bounded, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                let bounded =
                    bounded && inner["type"] == "object" || inner.get("maxLength").is_some();
                walk(inner, bounded, &format!("{path}[]"));
            }
        }
    }
    for it in crds() {
        let spec = &it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        walk(spec, true, it["metadata"]["name"].as_str().expect("a name"));
    }
}

#[test]
fn what_kinds_share_is_asked_of_each() {
    let all = crds();
    let spec = |kind: &str| {
        let it = all.iter().find(|it| it["spec"]["names"]["kind"] == kind);
        &it.expect("a kind")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    };
    let rule = &spec("DestinationRule")["properties"];
    let subset = &rule["subsets"]["items"]["properties"]["trafficPolicy"]["properties"];
    for policy in [
        &rule["trafficPolicy"]["properties"],
        subset,
        &subset["portLevelSettings"]["items"]["properties"],
    ] {
        let balancer = &policy["loadBalancer"];
        assert_eq!(balancer["oneOf"].as_array().map(Vec::len), Some(3));
        assert_eq!(balancer["properties"]["warmup"]["required"][0], "duration");
    }
    for kind in ["AuthorizationPolicy", "RequestAuthentication", "Telemetry"] {
        let it = &spec(kind)["properties"];
        assert_eq!(
            it["selector"]["properties"]["matchLabels"]["maxProperties"], 4096,
            "{kind}"
        );
        assert_eq!(it["targetRefs"]["maxItems"], 16, "{kind}");
        assert_eq!(it["targetRef"]["required"][1], "name", "{kind}");
    }
    for address in [
        &spec("ServiceEntry")["properties"]["endpoints"]["items"]["properties"]["address"],
        &spec("WorkloadEntry")["properties"]["address"],
        &spec("WorkloadGroup")["properties"]["template"]["properties"]["address"],
    ] {
        assert_eq!(
            address["x-kubernetes-validations"].as_array().map(Vec::len),
            Some(2)
        );
    }
}
