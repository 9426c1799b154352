//! `x-forwarded-client-cert`: what the upstream learns of the client's certificate. The
//! element for a connection is made once; each request only places it.

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use meltemi_ir::{ForwardClientCert, SetCurrentClientCert};
use meltemi_telemetry::TlsInfo;

use super::names;

/// The element that describes this connection's client, where one is to be written.
pub(crate) fn element(
    mode: ForwardClientCert,
    details: &SetCurrentClientCert,
    tls: Option<&TlsInfo>,
) -> Option<HeaderValue> {
    let tls = tls.filter(|tls| tls.peer_presented)?;
    match mode {
        ForwardClientCert::AppendForward | ForwardClientCert::SanitizeSet => {}
        ForwardClientCert::Sanitize
        | ForwardClientCert::ForwardOnly
        | ForwardClientCert::AlwaysForwardOnly => return None,
    }
    let mut parts = Vec::new();
    parts.extend(tls.local_uri_sans.iter().map(|uri| format!("By={uri}")));
    if !tls.peer_fingerprint_256.is_empty() {
        parts.push(format!("Hash={}", tls.peer_fingerprint_256));
    }
    let SetCurrentClientCert {
        subject,
        uri,
        dns,
        cert,
        chain,
    } = details;
    if *cert && let Some(leaf) = tls.peer_chain.first() {
        parts.push(format!(
            "Cert=\"{}\"",
            encoded_pem(std::slice::from_ref(leaf))
        ));
    }
    if *chain && !tls.peer_chain.is_empty() {
        parts.push(format!("Chain=\"{}\"", encoded_pem(&tls.peer_chain)));
    }
    if *subject {
        parts.push(format!("Subject=\"{}\"", tls.peer_subject));
    }
    if *uri {
        if tls.peer_uri_sans.is_empty() {
            parts.push("URI=".to_owned());
        }
        parts.extend(tls.peer_uri_sans.iter().map(|san| format!("URI={san}")));
    }
    if *dns {
        parts.extend(tls.peer_dns_sans.iter().map(|san| format!("DNS={san}")));
    }
    HeaderValue::from_str(&parts.join(";")).ok()
}

/// Places `element` in the request, or removes what the client sent, as `mode` says.
pub(crate) fn apply(
    mode: ForwardClientCert,
    element: Option<&HeaderValue>,
    mutual: bool,
    present: bool,
    headers: &mut HeaderMap,
) {
    if mode == ForwardClientCert::AlwaysForwardOnly {
        return;
    }
    if mode == ForwardClientCert::Sanitize || !mutual {
        if present {
            headers.remove(names::X_FORWARDED_CLIENT_CERT);
        }
        return;
    }
    match (mode, element) {
        (ForwardClientCert::AppendForward, Some(element)) if present => {
            append(
                headers,
                &names::X_FORWARDED_CLIENT_CERT,
                element.as_bytes(),
                b",",
            );
        }
        (ForwardClientCert::AppendForward | ForwardClientCert::SanitizeSet, Some(element)) => {
            headers.insert(names::X_FORWARDED_CLIENT_CERT, element.clone());
        }
        _ => {}
    }
}

/// Adds to a header that lists elements: all its lines become one.
pub(crate) fn append(
    headers: &mut HeaderMap,
    name: &http::HeaderName,
    element: &[u8],
    separator: &[u8],
) {
    let mut joined = Vec::with_capacity(element.len() + 64);
    for value in headers.get_all(name) {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if !joined.is_empty() {
        joined.extend_from_slice(separator);
    }
    joined.extend_from_slice(element);
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(name, value);
    }
}

/// Certificates as PEM, percent-encoded.
fn encoded_pem(chain: &[Vec<u8>]) -> String {
    let mut encoded = String::new();
    for der in chain {
        let base64 = base64::engine::general_purpose::STANDARD.encode(der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        for byte in pem.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    encoded
}
