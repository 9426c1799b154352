//! The messages of an authorization service, readable.
//!
//! In: bodies of gRPC calls, answers as JSON. Out: lines of a report, bodies of gRPC answers. Called
//! by `observation` and `case`.

use meltemi_xds::json;
use meltemi_xds::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;
use serde_json::Value;

/// The method's path.
pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What was asked, without what is another one each time.
pub fn asked(body: &[u8]) -> String {
    let Some(request) = body
        .get(5..)
        .and_then(|body| CheckRequest::decode(body).ok())
    else {
        return "no CheckRequest".to_owned();
    };
    let mut value = json::to_json(&request);
    strip(&mut value);
    serde_json::to_string(&sorted(&value)).expect("JSON is written")
}

/// An answer as the body of a gRPC response.
pub fn answer(value: &Value) -> Vec<u8> {
    let response: CheckResponse = json::from_json(value.clone()).expect("a CheckResponse");
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).expect("it is small");
    [&[0], length.to_be_bytes().as_slice(), &message].concat()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for name in ["time", "id", "portValue", "port_value", "x-request-id"] {
                if let Some(found) = object.get_mut(name) {
                    *found = Value::from("(another each time)");
                }
            }
            object.values_mut().for_each(strip);
        }
        Value::Array(all) => all.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The same with the members of objects in order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.into_iter();
            Value::Object(
                members
                    .map(|(name, it)| (name.clone(), sorted(it)))
                    .collect(),
            )
        }
        Value::Array(all) => Value::Array(all.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
