//! The messages of services that the proxy calls over gRPC, readable: authorization and logs.
//!
//! In: bodies of gRPC calls, answers as JSON. Out: lines of a report, bodies of gRPC answers. Called
//! by `observation` and `case`.

use meltemi_xds::json;
use meltemi_xds::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use meltemi_xds::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use meltemi_xds::pb::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use prost::{Message, Name};
use serde_json::Value;

/// What a call says, without what is another one each time; nothing where it is of no such service.
pub fn said(method: &str, body: &[u8]) -> Option<String> {
    let message = match method {
        "/envoy.service.auth.v3.Authorization/Check" => decoded::<CheckRequest>(body),
        "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs" => {
            decoded::<StreamAccessLogsMessage>(body)
        }
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
            decoded::<ExportLogsServiceRequest>(body)
        }
        _ => return None,
    };
    let Some(mut value) = message else {
        return Some("no such message".to_owned());
    };
    strip(&mut value);
    Some(serde_json::to_string(&sorted(&value)).expect("JSON is written"))
}

fn decoded<M: Message + Name + Default>(body: &[u8]) -> Option<Value> {
    let message = M::decode(body.get(5..)?).ok()?;
    Some(json::to_json(&message))
}

/// An answer as the body of a gRPC response.
pub fn answer(value: &Value) -> Vec<u8> {
    let response: CheckResponse = json::from_json(value.clone()).expect("a CheckResponse");
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).expect("it is small");
    [&[0], length.to_be_bytes().as_slice(), &message].concat()
}

/// Members that are another each time.
const ANOTHER_EACH_TIME: [&str; 14] = [
    "duration",
    "id",
    "port_value",
    "request_id",
    "start_time",
    "stream_id",
    "time",
    "time_to_first_upstream_rx_byte",
    "time_to_last_downstream_tx_byte",
    "time_to_last_rx_byte",
    "time_to_last_upstream_tx_byte",
    "time_unix_nano",
    "upstream_wire_bytes_sent",
    "x-request-id",
];

fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for name in ANOTHER_EACH_TIME {
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
