//! Whether a resource is valid, as an API server asks.
//!
//! In: an AdmissionReview (`admission.k8s.io/v1`, or `v1beta1`). Out: the same with a response. Valid is what
//! `meltemi validate` calls so.

use meltemi_api::{Document, Node};
use meltemi_model::{Defaults, Problem, convert_in_part};
use serde::Deserialize;
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// AdmissionReview, the part that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<AdmissionRequest>,
}

/// AdmissionRequest. `dryRun` is not looked at: nothing here changes anything.
#[derive(Deserialize)]
struct AdmissionRequest {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
}

/// The answer to a review; `Err` says why it is none.
pub(super) fn review(body: &[u8], defaults: &Defaults) -> Result<String, String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| format!("not an AdmissionReview: {error}"))?;
    let Review {
        api_version,
        kind,
        request,
    } = review;
    if kind != "AdmissionReview" || !VERSIONS.contains(&api_version.as_str()) {
        return Err(format!(
            "`{kind}` of `{api_version}` is not an AdmissionReview of {}",
            VERSIONS.join(" or ")
        ));
    }
    let request = request.ok_or("the AdmissionReview has no request")?;
    let uid = request.uid.clone();
    let problems = problems(request, defaults);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.iter().partition(|problem| problem.kind.is_error());
    let texts =
        |problems: &[&Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut response = json!({ "uid": uid, "allowed": errors.is_empty() });
    if !errors.is_empty() {
        response["status"] = json!({
            "status": "Failure",
            "reason": "Invalid",
            "code": 422,
            "message": texts(&errors).join("; "),
        });
    }
    if !warnings.is_empty() {
        response["warnings"] = texts(&warnings).into();
    }
    let answer = json!({ "apiVersion": api_version, "kind": kind, "response": response });
    Ok(answer.to_string())
}

/// What is wrong with what is asked for.
fn problems(request: AdmissionRequest, defaults: &Defaults) -> Vec<Problem> {
    let AdmissionRequest {
        uid: _, // ignored: it is for the answer
        operation,
        namespace,
        object,
    } = request;
    // Whatever else there is needs no object, and what is wrong can always be taken away.
    let leaving = object.pointer("/metadata/deletionTimestamp");
    if !matches!(operation.as_str(), "CREATE" | "UPDATE") || leaving.is_some_and(Value::is_string) {
        return Vec::new();
    }
    let mut defaults = defaults.clone();
    if !namespace.is_empty() {
        defaults.namespace = namespace.as_str().into();
    }
    let document = Document::of(None, Node::from(object));
    convert_in_part(&document, &defaults).1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn route(weight: i64, timeout: &str) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "hosts": ["web"], "http": [{
                "timeout": timeout,
                "route": [{ "destination": { "host": "web" }, "weight": weight }],
            }] },
        })
    }

    fn ask(version: &str, operation: &str, object: &Value) -> Value {
        let review = json!({
            "apiVersion": version, "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": operation, "namespace": "shop", "object": object,
                "oldObject": null, "dryRun": false, "options": { "kind": "CreateOptions" },
            },
        });
        let answer = review_text(&review.to_string()).unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["apiVersion"], version);
        assert_eq!(answer["kind"], "AdmissionReview");
        answer["response"].take()
    }

    fn review_text(text: &str) -> Result<String, String> {
        review(text.as_bytes(), &Defaults::default())
    }

    #[test]
    fn reviews() {
        let mut leaving = route(-1, "1s");
        leaving["metadata"]["deletionTimestamp"] = "2024-05-01T10:00:00Z".into();
        let other =
            json!({ "apiVersion": "example.com/v1", "kind": "Other", "metadata": { "name": "x" } });
        for (operation, object, expected) in [
            ("CREATE", route(1, "1s"), Ok(())),
            ("UPDATE", route(1, "1s"), Ok(())),
            (
                "CREATE",
                route(-1, "1s"),
                Err("VirtualService shop/web: spec.http[0].route[0].weight: "),
            ),
            (
                "UPDATE",
                route(1, "soon"),
                Err("VirtualService shop/web: spec.http[0].timeout: "),
            ),
            ("UPDATE", leaving, Ok(())),
            ("DELETE", Value::Null, Ok(())),
            ("CONNECT", route(-1, "1s"), Ok(())),
            ("CREATE", other, Ok(())),
            ("CREATE", Value::Null, Err("`kind` is missing")),
        ] {
            for version in VERSIONS {
                let response = ask(version, operation, &object);
                assert_eq!(response["uid"], "u-1");
                assert_eq!(
                    response["allowed"],
                    expected.is_ok(),
                    "{operation} {object}: {response}"
                );
                if let Err(part) = expected {
                    assert_eq!(response["status"]["code"], 422);
                    let message = response["status"]["message"].as_str().unwrap();
                    assert!(message.contains(part), "{message}");
                }
            }
        }
    }

    #[test]
    fn every_error_is_told_and_warnings_forbid_nothing() {
        let response = ask(VERSIONS[0], "CREATE", &route(-1, "soon"));
        let message = response["status"]["message"].as_str().unwrap();
        for part in ["timeout", "weight", "; "] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let other =
            json!({ "apiVersion": "example.com/v1", "kind": "Other", "metadata": { "name": "x" } });
        let response = ask(VERSIONS[0], "CREATE", &other);
        assert_eq!(
            response["warnings"].as_array().unwrap().len(),
            1,
            "{response}"
        );
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for (text, part) in [
            ("", "not an AdmissionReview"),
            ("[]", "not an AdmissionReview"),
            ("{}", "`` of `` is not an AdmissionReview"),
            (
                r#"{"apiVersion":"admission.k8s.io/v2","kind":"AdmissionReview"}"#,
                "admission.k8s.io/v2",
            ),
            (
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
                "no request",
            ),
        ] {
            let error = review_text(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
