//! The checks on a request that the codec let through, and the one form it gets: framing,
//! version, method, authority, path.

use std::rc::Rc;

use http::header::{self, HeaderMap};
use http::{StatusCode, Version};
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, ResponseFlags};

use crate::connection::Connection;
use crate::head::{BadHead, RequestHead, is_standard_method};
use crate::headers::scan::Seen;
use crate::path::{NormalPath, normalize};
use crate::route::{port_of, without_port};
use crate::router::reply::LocalReply;
use crate::stream::Stream;

/// A request that is no request, or asks for a path in need of mending.
pub(super) struct Refusal {
    pub(super) reply: Box<LocalReply>,
    pub(super) head: Option<RequestHead>,
}

/// Checks what the codec let through and puts the head into its one form. An error has the
/// answer, and the head where there is one.
pub(super) fn accept(
    stream: &Rc<Stream>,
    parts: http::request::Parts,
    protocol: Protocol,
    seen: Seen,
) -> Result<RequestHead, Box<Refusal>> {
    let config = stream.settings.manager.config.clone();
    stream.note_received(&parts, protocol);
    let refuse = |status, body, details: &'static str, flags| {
        if details.starts_with("http1.") {
            let worker = stream.connection.worker.worker;
            let stats = stream.settings.manager.stats.shard(worker);
            stats.downstream_cx_protocol_error.inc();
        }
        Box::new(Refusal {
            reply: LocalReply::new(status, body, details, flags).closing(),
            head: None,
        })
    };
    const DPE: ResponseFlags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    if protocol == Protocol::Http10 && !config.http1.accept_http_10 {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(refuse(status, "Upgrade Required", "low_version", DPE));
    }
    if protocol != Protocol::Http2 {
        if seen.any(Seen::TRANSFER_ENCODING.or(Seen::CONTENT_LENGTH))
            && let Err((status, body, details)) =
                check_framing(&stream.connection, &parts.headers, seen)
        {
            return Err(refuse(status, body, details, DPE));
        }
        if !is_standard_method(&parts.method) {
            let status = StatusCode::BAD_REQUEST;
            return Err(refuse(status, "Bad Request", "http1.codec_error", DPE));
        }
    }
    stream.connection.forget_head();
    let mut parts = parts;
    if config.underscores != ir::Underscores::Allow
        && !check_underscores(config.underscores, &mut parts.headers)
    {
        let details = if protocol == Protocol::Http2 {
            "http2.unexpected_underscore"
        } else {
            "http1.unexpected_underscore"
        };
        let status = StatusCode::BAD_REQUEST;
        return Err(refuse(status, "Bad Request", details, DPE));
    }
    let default_host = (protocol == Protocol::Http10
        && !config.http1.default_host_for_http_10.is_empty())
    .then_some(&*config.http1.default_host_for_http_10);
    // of HTTP/2 what stands in the request line of HTTP/1 counts too
    let pseudo = if protocol == Protocol::Http2 { 4 } else { 0 };
    let most = config.max_headers_count as usize;
    if most > 0 && parts.headers.len() + pseudo > most {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let details = match protocol {
            Protocol::Http2 => "http2.too_many_headers",
            Protocol::Http10 | Protocol::Http11 => "http1.too_many_headers",
        };
        return Err(refuse(
            status,
            "Request Header Fields Too Large",
            details,
            DPE,
        ));
    }
    let mut head = RequestHead::new(parts, default_host).map_err(refuse_head)?;
    if config.strip_trailing_host_dot {
        strip_dot(&mut head);
    }
    strip_port(&config, stream, &mut head);
    mend_path(stream, &config, head)
}

/// The answer to a head that is none.
fn refuse_head(bad: BadHead) -> Box<Refusal> {
    const DPE: ResponseFlags = ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR;
    const NONE: ResponseFlags = ResponseFlags::NONE;
    let (status, body, details, flags) = match bad {
        BadHead::MissingHost => (StatusCode::BAD_REQUEST, "", "missing_host_header", NONE),
        BadHead::InvalidHost => {
            let details = "http.invalid_authority";
            (StatusCode::BAD_REQUEST, "Bad Request", details, DPE)
        }
        BadHead::RelativePath => (StatusCode::NOT_FOUND, "", "absolute_path_rejected", NONE),
        BadHead::InvalidScheme => {
            let details = "http1.invalid_scheme";
            (StatusCode::BAD_REQUEST, "Bad Request", details, DPE)
        }
        BadHead::NoPath => {
            let details = "http1.codec_error";
            (StatusCode::BAD_REQUEST, "Bad Request", details, DPE)
        }
    };
    let mut reply = LocalReply::new(status, body, details, flags);
    reply.close = bad != BadHead::RelativePath;
    Box::new(Refusal { reply, head: None })
}

/// Normalizes the path.
fn mend_path(
    stream: &Rc<Stream>,
    config: &ir::HttpConnectionManager,
    mut head: RequestHead,
) -> Result<RequestHead, Box<Refusal>> {
    const DETAILS: &str = "path_normalization_failed";
    let worker = stream.connection.worker.worker;
    let stats = stream.settings.manager.stats.shard(worker);
    let usable = match normalize(head.path(), &config.path) {
        NormalPath::Unchanged => true,
        NormalPath::Changed(path) => head.set_path(path),
        NormalPath::Reject => false,
        NormalPath::Redirect(path) => {
            stats.downstream_rq_redirected_with_normalized_path.inc();
            let reply = LocalReply::redirect(StatusCode::TEMPORARY_REDIRECT, &path, DETAILS);
            head.set_path(path);
            return Err(Box::new(Refusal {
                reply,
                head: Some(head),
            }));
        }
    };
    if usable {
        return Ok(head);
    }
    stats.downstream_rq_failed_path_normalization.inc();
    let reply = LocalReply::new(StatusCode::BAD_REQUEST, "", DETAILS, ResponseFlags::NONE);
    Err(Box::new(Refusal {
        reply: reply.closing(),
        head: Some(head),
    }))
}

/// Whether the client wants the connection to end with this request.
pub(super) fn ends_connection(parts: &http::request::Parts, seen: Seen) -> bool {
    let says = |token: &str| {
        if !seen.any(Seen::CONNECTION) {
            return false;
        }
        let values = parts.headers.get_all(header::CONNECTION).iter();
        let mut tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    match parts.version {
        Version::HTTP_11 => says("close"),
        _ => !says("keep-alive"),
    }
}

/// Refuses a message whose length is said in more than one way. The codec itself is safe: it
/// takes one way, forwards that one only, and closes the connection.
fn check_framing(
    connection: &Connection,
    headers: &HeaderMap,
    seen: Seen,
) -> Result<(), (StatusCode, &'static str, &'static str)> {
    if seen.any(Seen::TRANSFER_ENCODING) {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err((
                StatusCode::NOT_IMPLEMENTED,
                "Not Implemented",
                "http1.invalid_transfer_encoding",
            ));
        }
    }
    let bytes = connection.head_bytes.borrow();
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(());
    };
    let mut lengths = 0;
    let mut codings = 0;
    for line in bytes[..end].split(|byte| *byte == b'\n').skip(1) {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    let status = StatusCode::BAD_REQUEST;
    if codings > 0 && lengths > 0 {
        let details = "http1.content_length_and_chunked_not_allowed";
        return Err((status, "Bad Request", details));
    }
    if lengths > 1 {
        return Err((status, "Bad Request", "http1.codec_error"));
    }
    Ok(())
}

fn strip_port(config: &ir::HttpConnectionManager, stream: &Stream, head: &mut RequestHead) {
    let port = match config.strip_port {
        ir::StripPort::No => return,
        ir::StripPort::Matching => Some(stream.connection.info.local.port()),
        ir::StripPort::Any => None,
    };
    if head.path.is_none() {
        return;
    }
    let authority = head.authority();
    if let Some(named) = port_of(authority)
        && port.is_none_or(|port| port == named)
    {
        let host = without_port(authority).to_owned();
        if let Ok(host) = http::HeaderValue::from_str(&host) {
            head.set_authority(host);
        }
    }
}

/// Drops headers whose names have underscores; false where they make the request unusable.
fn check_underscores(action: ir::Underscores, headers: &mut HeaderMap) -> bool {
    let bad: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .cloned()
        .collect();
    if action == ir::Underscores::Reject {
        return bad.is_empty();
    }
    for name in bad {
        headers.remove(name);
    }
    true
}

/// Takes the dot off the end of the authority's host.
fn strip_dot(head: &mut RequestHead) {
    let authority = head.authority();
    let host = without_port(authority);
    if let Some(shorter) = host.strip_suffix('.') {
        let text = format!("{shorter}{}", &authority[host.len()..]);
        if let Ok(text) = http::HeaderValue::from_str(&text) {
            head.set_authority(text);
        }
    }
}
