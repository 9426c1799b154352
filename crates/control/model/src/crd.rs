//! Istio's kinds as definitions for Kubernetes (`CustomResourceDefinition`).
//!
//! In: the types of `api` and the [`rules`] beside them. Out: [`crds`], one definition for each kind
//! that has a group of Istio's, with a structural schema and the rules that an API server can check by
//! itself. Used by `meltemi manifest crds`.

mod definitions;
mod rules;

use meltemi_api::Schema;
use serde_json::{Map, Value, json};

use definitions::{DEFINITIONS, Definition};
use rules::{Check, Rule};

/// Every definition, by kind.
pub fn crds() -> Vec<Value> {
    DEFINITIONS.iter().map(definition).collect()
}

fn definition(it: &Definition) -> Value {
    let mut spec = structural(&(it.schema)());
    let mut written = false;
    for Rule { path, check } in it.rules {
        written |= matches!(check, Check::Written);
        let place = find(&mut spec, path).expect("rules name fields that there are");
        apply(place, check);
    }
    // A WorkloadEntry is as a whole what is a part of other kinds.
    let whole = (it.kind == "WorkloadEntry").then_some(("", rules::WORKLOAD));
    for (at, rules) in rules::SHARED.iter().copied().chain(whole) {
        let Some(part) = find(&mut spec, at) else {
            continue;
        };
        for Rule { path, check } in rules {
            if let Some(place) = find_in(part, path) {
                apply(place, check);
            }
        }
    }
    let mut schema = json!({
        "type": "object",
        "properties": {
            "spec": spec,
            "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        },
    });
    if written {
        schema["required"] = json!(["spec"]);
    }
    let column = |(name, path, kind): &(&str, &str, &str)| json!({ "name": name, "jsonPath": path, "type": kind });
    let columns: Vec<_> = it.columns.iter().map(column).collect();
    let version = |(at, version): (usize, &&str)| {
        json!({
            "name": version,
            "served": true,
            "storage": at == 0,
            "additionalPrinterColumns": columns,
            "schema": { "openAPIV3Schema": schema },
            "subresources": { "status": {} },
        })
    };
    let versions: Vec<_> = it.versions.iter().enumerate().map(version).collect();
    let category = it.group.split('.').next().unwrap_or_default();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", it.plural, it.group),
            "labels": { "app.kubernetes.io/part-of": "meltemi" },
        },
        "spec": {
            "group": it.group,
            "names": {
                "kind": it.kind,
                "listKind": format!("{}List", it.kind),
                "plural": it.plural,
                "singular": it.kind.to_ascii_lowercase(),
                "shortNames": it.short_names,
                "categories": ["istio-io", format!("{category}-istio-io")],
            },
            "scope": "Namespaced",
            "versions": versions,
        },
    })
}

/// A schema as Kubernetes wants it: with a type at every place, or with any content at all.
fn structural(schema: &Schema) -> Value {
    match schema {
        Schema::Any => json!({ "x-kubernetes-preserve-unknown-fields": true }),
        Schema::Text => json!({ "type": "string" }),
        Schema::Integer => json!({ "type": "integer" }),
        Schema::Number => json!({ "type": "number" }),
        Schema::Boolean => json!({ "type": "boolean" }),
        Schema::List(item) => json!({ "type": "array", "items": structural(item) }),
        Schema::Map(item) => json!({
            "type": "object",
            "additionalProperties": structural(item),
        }),
        Schema::Object(fields) => {
            let fields = fields.iter();
            let properties: Map<_, _> = fields
                .map(|(name, field)| ((*name).to_owned(), structural(field)))
                .collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

/// Adds what is asked for to the place that it is asked of.
fn apply(place: &mut Map<String, Value>, check: &Check) {
    let kind = place.get("type").and_then(Value::as_str);
    let (fewest, most) = match kind {
        Some("array") => ("minItems", "maxItems"),
        Some("object") => ("minProperties", "maxProperties"),
        _ => ("minLength", "maxLength"),
    };
    let mut set = |key: &str, value: Value| {
        place.insert(key.to_owned(), value);
    };
    match check {
        Check::OneOf(values) => set("enum", json!(values)),
        Check::Required(fields) => set("required", json!(fields)),
        Check::Range(least, most) => {
            set("minimum", json!(least));
            set("maximum", json!(most));
        }
        Check::Least(least) => set("minimum", json!(least)),
        Check::Filled => set(fewest, json!(1)),
        Check::Most(count) => set(most, json!(count)),
        Check::Longest(length) => set("maxLength", json!(length)),
        Check::Pattern(pattern) => set("pattern", json!(pattern)),
        Check::Distinct(field) => {
            set("x-kubernetes-list-type", json!("map"));
            set("x-kubernetes-list-map-keys", json!([field]));
        }
        Check::AtMostOne(fields) => {
            let one = |field: &&str| json!({ "required": [field] });
            let each: Vec<_> = fields.iter().map(one).collect();
            let none = json!({ "not": { "anyOf": each } });
            set("oneOf", std::iter::once(none).chain(each).collect());
        }
        Check::Written => {}
        Check::Duration => add_rule(
            place,
            "duration(self) >= duration('1ms')",
            "must be a valid duration of at least 1ms",
        ),
        Check::Cel(expression, message) => add_rule(place, expression, message),
    }
}

fn add_rule(place: &mut Map<String, Value>, rule: &str, message: &str) {
    let rules = place.entry("x-kubernetes-validations");
    let rules = rules.or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(json!({ "rule": rule, "message": message }));
    }
}

/// The schema at a path such as `servers[].port.number`; the whole for an empty one.
fn find<'a>(spec: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    find_in(spec.as_object_mut()?, path)
}

fn find_in<'a>(
    mut place: &'a mut Map<String, Value>,
    path: &str,
) -> Option<&'a mut Map<String, Value>> {
    for step in path.split('.').filter(|it| !it.is_empty()) {
        let name_end = step.find('[').unwrap_or(step.len());
        let (name, inner) = step.split_at(name_end);
        if !name.is_empty() {
            place = within(within(place, "properties")?, name)?;
        }
        place = match inner {
            "" => place,
            "[]" => within(place, "items")?,
            _ => within(place, "additionalProperties")?,
        };
    }
    Some(place)
}

fn within<'a>(place: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    place.get_mut(key)?.as_object_mut()
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
mod tests;
