//! gRPC checks: `grpc.health.v1.Health/Check`.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method};
use meltemi_ir::{HeaderMutation, HealthCheck};

use super::request::{self, Kept};
use super::{Verdict, host_name};
use crate::{Cluster, Host};

/// `HealthCheckResponse.ServingStatus.SERVING`, as field 1.
const SERVING: [u8; 2] = [0x08, 1];

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) service_name: &'a str,
    pub(super) authority: &'a str,
    pub(super) headers: &'a HeaderMutation,
}

pub(super) async fn check(
    cluster: &Cluster,
    host: &Host,
    settings: &HealthCheck,
    asked: Asked<'_>,
    kept: &mut Option<Kept>,
) -> Verdict {
    let Asked {
        service_name,
        authority,
        headers: changes,
    } = asked;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Envoy/HC"));
    let mut name = host_name(cluster, host, authority).to_owned();
    request::apply(changes, &mut headers, &mut name);
    let request = request::Asked {
        method: Method::POST,
        host: &name,
        path: "/grpc.health.v1.Health/Check",
        headers,
        body: message(service_name),
        http2: true,
    };
    let Some(response) = request::ask(cluster, host, settings, request, kept).await else {
        return Verdict::Network;
    };
    let (head, body) = response.into_parts();
    let Some((body, trailers)) = request::read(body, 1024).await else {
        return Verdict::Network;
    };
    let trailers = trailers.as_ref().unwrap_or(&head.headers);
    let is_ok = head.status == 200 && trailers.get("grpc-status").is_some_and(|s| s == "0");
    // A prefix of five bytes, then the message.
    let serves = body.get(5..).is_some_and(|message| message == SERVING);
    if is_ok && serves {
        Verdict::Healthy {
            degraded: false,
            excluded: false,
        }
    } else {
        Verdict::Failed {
            retriable: false,
            excluded: false,
        }
    }
}

/// `HealthCheckRequest`, whose one field is the service, with the prefix of a message.
fn message(service: &str) -> Bytes {
    let mut encoded = BytesMut::new();
    if !service.is_empty() {
        encoded.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            encoded.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        encoded.put_u8(u8::try_from(length).unwrap_or_default());
        encoded.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(encoded.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(encoded.len()).unwrap_or_default());
    framed.put_slice(&encoded);
    framed.freeze()
}
