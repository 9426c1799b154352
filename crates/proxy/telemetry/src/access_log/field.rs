//! The operators that take no argument, by name.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use meltemi_ir::Address;

use crate::{StreamRecord, TlsInfo, UpstreamRecord};

/// An operator without argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub FieldKind);

type Get<T> = for<'r> fn(&'r StreamRecord<'r>) -> Option<T>;

/// How its value is found and written.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldKind {
    Number(Get<u64>),
    /// In milliseconds.
    Duration(Get<Duration>),
    /// Empty is missing.
    Text(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r str>),
    /// Text in which white space becomes underscores; empty is missing.
    Words(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r str>),
    /// Joined by commas; empty is missing.
    List(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r [String]>),
    Owned(Get<String>),
    Socket(Get<SocketAddr>),
    Ip(Get<SocketAddr>),
    Port(Get<SocketAddr>),
    Address(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r Address>),
}

use FieldKind::{
    Address as Addr, Duration as Time, Ip, List, Number, Owned, Port, Socket, Text, Words,
};

/// The field of this name.
pub(super) fn find(name: &str) -> Option<Field> {
    [STREAM, ADDRESSES, DOWNSTREAM_TLS, UPSTREAM]
        .into_iter()
        .flatten()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| Field(*kind))
}

type Table = &'static [(&'static str, FieldKind)];

const STREAM: Table = &[
    ("PROTOCOL", Text(|r| Some(r.protocol?.as_str()))),
    (
        "RESPONSE_CODE",
        Number(|r| Some(r.response_code.unwrap_or(0).into())),
    ),
    ("RESPONSE_CODE_DETAILS", Words(|r| r.response_code_details)),
    (
        "CONNECTION_TERMINATION_DETAILS",
        Words(|r| r.termination_details),
    ),
    ("RESPONSE_FLAGS", Owned(|r| Some(r.flags.short()))),
    ("RESPONSE_FLAGS_LONG", Owned(|r| Some(r.flags.long()))),
    ("BYTES_RECEIVED", Number(|r| Some(r.bytes_received))),
    ("BYTES_SENT", Number(|r| Some(r.bytes_sent))),
    (
        "REQUEST_HEADERS_BYTES",
        Number(|r| Some(r.request_header_bytes)),
    ),
    (
        "RESPONSE_HEADERS_BYTES",
        Number(|r| Some(r.response_header_bytes)),
    ),
    (
        "DOWNSTREAM_HEADER_BYTES_RECEIVED",
        Number(|r| Some(r.request_header_bytes)),
    ),
    (
        "DOWNSTREAM_HEADER_BYTES_SENT",
        Number(|r| Some(r.response_header_bytes)),
    ),
    (
        "DOWNSTREAM_WIRE_BYTES_RECEIVED",
        Number(|r| Some(r.bytes_received + r.request_header_bytes)),
    ),
    (
        "DOWNSTREAM_WIRE_BYTES_SENT",
        Number(|r| Some(r.bytes_sent + r.response_header_bytes)),
    ),
    ("DURATION", Time(|r| r.duration)),
    ("REQUEST_DURATION", Time(|r| r.request_done)),
    ("REQUEST_TX_DURATION", Time(|r| r.request_sent)),
    ("RESPONSE_DURATION", Time(|r| r.response_started)),
    (
        "RESPONSE_TX_DURATION",
        Time(|r| r.response_done?.checked_sub(r.response_started?)),
    ),
    ("ROUTE_NAME", Text(|r| r.route_name)),
    ("VIRTUAL_HOST_NAME", Text(|r| r.virtual_host)),
    ("FILTER_CHAIN_NAME", Text(|r| r.filter_chain)),
    (
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        Number(|r| Some(r.attempts.into())),
    ),
    ("CONNECTION_ID", Number(|r| Some(r.connection.id))),
    ("STREAM_ID", Number(|r| Some(r.stream_id))),
    ("VIRTUAL_CLUSTER_NAME", Text(|r| r.virtual_cluster)),
    (
        "LOCAL_REPLY_BODY",
        Owned(|r| r.local_reply_body.map(str::to_owned)),
    ),
    (
        "RESPONSE_TRAILERS_BYTES",
        Number(|r| Some(r.response_trailer_bytes)),
    ),
    // Kept for QUIC alone, which there is not.
    ("BYTES_RETRANSMITTED", Number(|_| Some(0))),
    ("PACKETS_RETRANSMITTED", Number(|_| Some(0))),
    // There is no tracing, and no extension that sets flags.
    ("TRACE_ID", Text(|_| None)),
    ("SPAN_ID", Text(|_| None)),
    ("CUSTOM_FLAGS", Text(|_| None)),
    (
        "ACCESS_LOG_TYPE",
        Text(|r| {
            Some(match r.log_type {
                Some(name) => name,
                None if r.protocol.is_some() => "DownstreamEnd",
                None => "TcpConnectionEnd",
            })
        }),
    ),
];

const ADDRESSES: Table = &[
    (
        "DOWNSTREAM_REMOTE_ADDRESS",
        Socket(|r| Some(r.remote.unwrap_or(r.connection.remote))),
    ),
    (
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Ip(|r| Some(r.remote.unwrap_or(r.connection.remote))),
    ),
    (
        "DOWNSTREAM_REMOTE_PORT",
        Port(|r| Some(r.remote.unwrap_or(r.connection.remote))),
    ),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        Socket(|r| Some(r.connection.direct_remote)),
    ),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Ip(|r| Some(r.connection.direct_remote)),
    ),
    (
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        Port(|r| Some(r.connection.direct_remote)),
    ),
    (
        "DOWNSTREAM_LOCAL_ADDRESS",
        Socket(|r| Some(r.connection.local)),
    ),
    (
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Ip(|r| Some(r.connection.local)),
    ),
    ("DOWNSTREAM_LOCAL_PORT", Port(|r| Some(r.connection.local))),
];

const DOWNSTREAM_TLS: Table = &[
    (
        "REQUESTED_SERVER_NAME",
        Text(|r| r.connection.requested_server_name.as_deref()),
    ),
    ("DOWNSTREAM_TLS_VERSION", Text(|r| Some(down(r)?.version))),
    ("DOWNSTREAM_TLS_CIPHER", Text(|r| Some(&down(r)?.cipher))),
    (
        "DOWNSTREAM_TLS_SESSION_ID",
        Text(|r| Some(&down(r)?.session_id)),
    ),
    (
        "DOWNSTREAM_PEER_URI_SAN",
        List(|r| Some(&down(r)?.peer_uri_sans)),
    ),
    (
        "DOWNSTREAM_PEER_DNS_SAN",
        List(|r| Some(&down(r)?.peer_dns_sans)),
    ),
    (
        "DOWNSTREAM_PEER_SUBJECT",
        Text(|r| Some(&down(r)?.peer_subject)),
    ),
    (
        "DOWNSTREAM_PEER_ISSUER",
        Text(|r| Some(&down(r)?.peer_issuer)),
    ),
    (
        "DOWNSTREAM_PEER_SERIAL",
        Text(|r| Some(&down(r)?.peer_serial)),
    ),
    (
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        Text(|r| Some(&down(r)?.peer_fingerprint_256)),
    ),
    ("DOWNSTREAM_PEER_CERT", Owned(|r| url_encoded_pem(down(r)?))),
    (
        "DOWNSTREAM_LOCAL_URI_SAN",
        List(|r| Some(&down(r)?.local_uri_sans)),
    ),
    (
        "DOWNSTREAM_LOCAL_DNS_SAN",
        List(|r| Some(&down(r)?.local_dns_sans)),
    ),
    (
        "DOWNSTREAM_LOCAL_SUBJECT",
        Text(|r| Some(&down(r)?.local_subject)),
    ),
];

const UPSTREAM: Table = &[
    ("UPSTREAM_HOST", Addr(|r| up(r)?.address)),
    ("UPSTREAM_REMOTE_ADDRESS", Addr(|r| up(r)?.address)),
    (
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Ip(|r| socket(up(r)?)),
    ),
    ("UPSTREAM_REMOTE_PORT", Port(|r| socket(up(r)?))),
    ("UPSTREAM_HOST_NAME", Owned(host_name)),
    (
        "UPSTREAM_HOST_NAME_WITHOUT_PORT",
        Owned(host_name_without_port),
    ),
    (
        "UPSTREAM_CLUSTER",
        Text(|r| up(r).map(|upstream| upstream.alt_stat_name.unwrap_or(upstream.cluster))),
    ),
    ("UPSTREAM_CLUSTER_RAW", Text(|r| Some(up(r)?.cluster))),
    ("UPSTREAM_LOCAL_ADDRESS", Socket(|r| up(r)?.local_address)),
    (
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Ip(|r| up(r)?.local_address),
    ),
    ("UPSTREAM_LOCAL_PORT", Port(|r| up(r)?.local_address)),
    ("UPSTREAM_CONNECTION_ID", Number(|r| up(r)?.connection_id)),
    (
        "UPSTREAM_PROTOCOL",
        Text(|r| Some(up(r)?.protocol?.as_str())),
    ),
    (
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        Words(|r| up(r)?.transport_failure),
    ),
    (
        "UPSTREAM_WIRE_BYTES_SENT",
        Number(|r| Some(up(r)?.bytes_sent)),
    ),
    (
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        Number(|r| Some(up(r)?.bytes_received)),
    ),
    ("UPSTREAM_TLS_VERSION", Text(|r| Some(up(r)?.tls?.version))),
    ("UPSTREAM_TLS_CIPHER", Text(|r| Some(&up(r)?.tls?.cipher))),
    (
        "UPSTREAM_TLS_SESSION_ID",
        Text(|r| Some(&up(r)?.tls?.session_id)),
    ),
    (
        "UPSTREAM_PEER_URI_SAN",
        List(|r| Some(&up(r)?.tls?.peer_uri_sans)),
    ),
    (
        "UPSTREAM_PEER_DNS_SAN",
        List(|r| Some(&up(r)?.tls?.peer_dns_sans)),
    ),
    (
        "UPSTREAM_PEER_SUBJECT",
        Text(|r| Some(&up(r)?.tls?.peer_subject)),
    ),
    (
        "UPSTREAM_PEER_ISSUER",
        Text(|r| Some(&up(r)?.tls?.peer_issuer)),
    ),
    (
        "UPSTREAM_LOCAL_URI_SAN",
        List(|r| Some(&up(r)?.tls?.local_uri_sans)),
    ),
    (
        "UPSTREAM_LOCAL_SUBJECT",
        Text(|r| Some(&up(r)?.tls?.local_subject)),
    ),
];

fn down<'r>(record: &'r StreamRecord<'r>) -> Option<&'r TlsInfo> {
    record.connection.tls.as_ref()
}

fn up<'r>(record: &'r StreamRecord<'r>) -> Option<&'r UpstreamRecord<'r>> {
    record.upstream.as_ref()
}

fn socket(upstream: &UpstreamRecord<'_>) -> Option<SocketAddr> {
    match upstream.address? {
        Address::Socket(address) => Some(*address),
        Address::Name { .. } | Address::Pipe(_) => None,
    }
}

/// The host's name, or its address where it has none.
fn host_name<'r>(record: &'r StreamRecord<'r>) -> Option<String> {
    let upstream = up(record)?;
    match upstream.host_name {
        Some(name) if !name.is_empty() => Some(name.to_owned()),
        _ => upstream.address.map(ToString::to_string),
    }
}

fn host_name_without_port<'r>(record: &'r StreamRecord<'r>) -> Option<String> {
    let name = host_name(record)?;
    let host = match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => &name,
    };
    Some(host.to_owned())
}

/// The peer's certificate as PEM in URL encoding, as `x-forwarded-client-cert` has it too.
fn url_encoded_pem(tls: &TlsInfo) -> Option<String> {
    let der = tls.peer_chain.first()?;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut encoded = String::with_capacity(pem.len() * 2);
    for character in pem.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '_' | '.' | '~' => encoded.push(character),
            other => encoded.push_str(&format!("%{:02X}", u32::from(other))),
        }
    }
    Some(encoded)
}
