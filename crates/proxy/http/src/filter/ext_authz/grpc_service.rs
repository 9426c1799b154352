//! Asking over gRPC: `envoy.service.auth.v3.Authorization/Check`.

use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use meltemi_ir as ir;
use prost::Message as _;

use super::inquiry::Inquiry;
use super::verdict::{Allowed, Changes, Denied, How, Verdict};
use super::wire;
use crate::call::grpc;
use crate::worker::WorkerContext;

/// Asks.
pub(super) async fn ask(
    target: &ir::GrpcTarget,
    metadata: HeaderMap,
    inquiry: &Inquiry,
    worker: &WorkerContext,
) -> Verdict {
    check(target, metadata, &wire::request(inquiry), worker).await
}

/// Asks a question.
pub(super) async fn check(
    target: &ir::GrpcTarget,
    metadata: HeaderMap,
    question: &wire::CheckRequest,
    worker: &WorkerContext,
) -> Verdict {
    const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
    let message = question.encode_to_vec();
    let path = PathAndQuery::from_static(CHECK);
    let answer = grpc(worker, target, path, metadata, &message).await;
    let answer = answer
        .ok()
        .and_then(|answer| wire::CheckResponse::decode(answer).ok());
    answer.map_or(Verdict::Error, verdict)
}

fn verdict(answer: wire::CheckResponse) -> Verdict {
    let wire::CheckResponse {
        status,
        denied,
        ok,
        dynamic_metadata,
        error,
    } = answer;
    let metadata = |message: Option<prost_types::Struct>| {
        message.as_ref().map(wire::fields).unwrap_or_default()
    };
    if status.is_none_or(|status| status.code == 0) {
        let mut allowed = Allowed::default();
        match ok {
            Some(ok) => {
                let older = ok.dynamic_metadata;
                allowed.metadata = metadata(older.or(dynamic_metadata));
                allowed.request = Changes {
                    headers: ok.headers.into_iter().filter_map(request_header).collect(),
                    remove: ok.headers_to_remove,
                    set_query: ok
                        .query_parameters_to_set
                        .into_iter()
                        .map(|pair| (pair.key, pair.value))
                        .collect(),
                    remove_query: ok.query_parameters_to_remove,
                };
                let later = ok.response_headers_to_add.into_iter();
                allowed.response.headers = later.filter_map(header).collect();
            }
            None => allowed.metadata = metadata(dynamic_metadata),
        }
        return Verdict::Allowed(Box::new(allowed));
    }
    if error.is_some() {
        return Verdict::Error;
    }
    let denied = denied.unwrap_or_default();
    let status = denied.status.map_or(0, |status| status.code);
    let status = u16::try_from(status).ok().filter(|code| *code >= 200);
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    Verdict::Denied(Box::new(Denied {
        status: status.unwrap_or(StatusCode::FORBIDDEN),
        headers: Changes {
            headers: denied.headers.into_iter().filter_map(header).collect(),
            ..Changes::default()
        },
        body: denied.body.into(),
        metadata: metadata(dynamic_metadata),
    }))
}

/// One change to a header of the request, in which Envoy does not look at `append_action`.
fn request_header(option: wire::HeaderValueOption) -> Option<(String, bytes::Bytes, How)> {
    let joins = matches!(&option.append, Some(append) if append.value);
    let (name, value, _) = header(option)?;
    Some((name, value, if joins { How::Join } else { How::Set }))
}

/// One change to a header.
fn header(option: wire::HeaderValueOption) -> Option<(String, bytes::Bytes, How)> {
    let wire::HeaderValue {
        key,
        value,
        raw_value,
    } = option.header?;
    let value = if raw_value.is_empty() {
        value.into()
    } else {
        raw_value.into()
    };
    let how = match (
        option.append.map(|append| append.value),
        option.append_action,
    ) {
        (Some(true), _) => How::Join,
        (Some(false), _) => How::Set,
        (None, 0) => How::Add,
        (None, 1) => How::IfAbsent,
        (None, 3) => How::IfPresent,
        (None, _) => How::Set,
    };
    Some((key.to_ascii_lowercase(), value, how))
}
