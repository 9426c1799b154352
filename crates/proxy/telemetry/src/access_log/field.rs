//! The operators that take no argument, by name.

mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{self, Algorithm};
use meltemi_ir::Address;

use self::tls::{DOWNSTREAM_TLS, UPSTREAM_TLS};
use super::certificate;
use crate::{StreamRecord, UpstreamRecord};

/// An operator without argument.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub FieldKind);

type Get<T> = for<'r> fn(&'r StreamRecord<'r>) -> Option<T>;

type Certificates = for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r [Vec<u8>]>;

/// How its value is found and written.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldKind {
    Number(Get<u64>),
    /// A number for which the bytes on the wire are counted.
    Wire(for<'r> fn(&'r StreamRecord<'r>) -> u64),
    /// In milliseconds.
    Duration(Get<Duration>),
    /// Empty is missing.
    Text(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r str>),
    /// Text in which white space becomes underscores; empty is missing.
    Words(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r str>),
    /// Joined by commas; empty is missing.
    List(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r [String]>),
    Owned(Get<String>),
    /// Text of which empty is written as it is.
    Literal(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r str>),
    /// Digests of certificates, joined by commas; none is missing.
    Digests(Certificates, &'static Algorithm),
    /// The request's id, or one by chance for what is no request.
    StreamId,
    Socket(Get<SocketAddr>),
    Ip(Get<SocketAddr>),
    Port(Get<SocketAddr>),
    Address(for<'r> fn(&'r StreamRecord<'r>) -> Option<&'r Address>),
}

use FieldKind::{
    Address as Addr, Duration as Time, Ip, Literal, Number, Owned, Port, Socket, StreamId, Text,
    Wire, Words,
};

impl Field {
    /// Whether it is the address of one, without its port.
    pub fn is_address(self) -> bool {
        matches!(self.0, Ip(_))
    }

    /// Whether bytes on the wire are looked at.
    pub fn reads_wire_bytes(self) -> bool {
        matches!(self.0, Wire(_))
    }

    /// Whether `x-request-id` is looked at.
    pub fn reads_request_id(self) -> bool {
        matches!(self.0, StreamId)
    }
}

/// The field of this name.
pub(super) fn find(name: &str) -> Option<Field> {
    [STREAM, ADDRESSES, DOWNSTREAM_TLS, UPSTREAM, UPSTREAM_TLS]
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
        Number(|r| Some(r.request_header_text)),
    ),
    (
        "RESPONSE_HEADERS_BYTES",
        Number(|r| Some(r.response_header_text)),
    ),
    (
        "DOWNSTREAM_HEADER_BYTES_RECEIVED",
        Wire(|r| r.received.headers),
    ),
    (
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
        Wire(|r| r.received.headers),
    ),
    ("DOWNSTREAM_HEADER_BYTES_SENT", Wire(|r| r.sent.headers)),
    (
        "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
        Wire(|r| r.sent.headers),
    ),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", Wire(|r| r.received.whole)),
    ("DOWNSTREAM_WIRE_BYTES_SENT", Wire(|r| r.sent.whole)),
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
    (
        "FILTER_CHAIN_NAME",
        Text(|r| r.connection.filter_chain.as_deref()),
    ),
    (
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        Number(|r| Some(r.attempts.into())),
    ),
    ("CONNECTION_ID", Number(|r| Some(r.connection.id))),
    ("LISTENER_NAME", Text(|r| Some(&r.connection.listener))),
    ("STREAM_ID", StreamId),
    ("UNIQUE_ID", Owned(|r| Some(unique_id(r)))),
    ("VIRTUAL_CLUSTER_NAME", Text(|r| r.virtual_cluster)),
    (
        "LOCAL_REPLY_BODY",
        Literal(|r| Some(r.local_reply_body.unwrap_or_default())),
    ),
    (
        "RESPONSE_TRAILERS_BYTES",
        Number(|r| Some(r.response_trailer_bytes)),
    ),
    (
        "DOWNSTREAM_LOCAL_CLOSE_REASON",
        Text(|r| r.close.local_reason),
    ),
    (
        "DOWNSTREAM_DETECTED_CLOSE_TYPE",
        Text(|r| Some(r.close.kind.as_str())),
    ),
    (
        "DOWNSTREAM_CX_RTT",
        Time(|r| Some(r.connection.round_trip.unwrap_or_default())),
    ),
    // Kept for QUIC alone, which there is not.
    ("BYTES_RETRANSMITTED", Number(|_| Some(0))),
    ("PACKETS_RETRANSMITTED", Number(|_| Some(0))),
    ("ROUNDTRIP_DURATION", Time(|_| None)),
    // There is no tracing, and no extension that sets flags.
    ("TRACE_ID", Text(|_| None)),
    ("SPAN_ID", Text(|_| None)),
    ("CUSTOM_FLAGS", Literal(|_| Some(""))),
    // The TLS inspector takes no fingerprints.
    ("TLS_JA3_FINGERPRINT", Text(|_| None)),
    ("TLS_JA4_FINGERPRINT", Text(|_| None)),
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
    (
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        Socket(|r| Some(r.connection.direct_local)),
    ),
    (
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
        Ip(|r| Some(r.connection.direct_local)),
    ),
    (
        "DOWNSTREAM_DIRECT_LOCAL_PORT",
        Port(|r| Some(r.connection.direct_local)),
    ),
    // Of internal listeners, which there are none of.
    (
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
        Literal(|_| Some("")),
    ),
    (
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
        Literal(|_| Some("")),
    ),
];

const UPSTREAM: Table = &[
    ("UPSTREAM_HOST", Addr(|r| up(r)?.address)),
    ("UPSTREAM_REMOTE_ADDRESS", Addr(remote)),
    (
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
        Literal(|r| remote(r).map(|_| "")),
    ),
    (
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Ip(|r| socket(remote(r)?)),
    ),
    ("UPSTREAM_REMOTE_PORT", Port(|r| socket(remote(r)?))),
    (
        "UPSTREAM_HOSTS_ATTEMPTED",
        Owned(|r| attempted(r, |address, _| address.to_string())),
    ),
    (
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
        Owned(|r| attempted(r, |address, _| without_port(&address.to_string()))),
    ),
    (
        "UPSTREAM_HOST_NAMES_ATTEMPTED",
        Owned(|r| attempted(r, name_or_address)),
    ),
    (
        "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
        Owned(|r| {
            attempted(r, |address, name| {
                without_port(&name_or_address(address, name))
            })
        }),
    ),
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
    (
        "UPSTREAM_CONNECTION_ID",
        Number(|r| {
            Some(
                up(r)
                    .and_then(|upstream| upstream.connection_id)
                    .unwrap_or(0),
            )
        }),
    ),
    (
        "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
        Owned(|r| up(r)?.connection_id.map(|id| id.to_string())),
    ),
    (
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
        Time(|r| up(r)?.ready),
    ),
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
        Wire(|r| up(r).map_or(0, |upstream| upstream.sent.whole)),
    ),
    (
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        Wire(|r| up(r).map_or(0, |upstream| upstream.received.whole)),
    ),
    (
        "UPSTREAM_HEADER_BYTES_SENT",
        Wire(|r| up(r).map_or(0, |upstream| upstream.sent.headers)),
    ),
    (
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        Wire(|r| up(r).map_or(0, |upstream| upstream.received.headers)),
    ),
    (
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
        Wire(|r| up(r).map_or(0, |upstream| upstream.sent.headers)),
    ),
    (
        "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
        Wire(|r| up(r).map_or(0, |upstream| upstream.received.headers)),
    ),
    (
        "UPSTREAM_LOCAL_CLOSE_REASON",
        Text(|r| up(r)?.close.local_reason),
    ),
    (
        "UPSTREAM_DETECTED_CLOSE_TYPE",
        Text(|r| {
            let upstream = up(r)?;
            let known = upstream.address.is_some() || r.protocol.is_none();
            Some(upstream.close.kind.as_str()).filter(|_| known)
        }),
    ),
];

fn up<'r>(record: &'r StreamRecord<'r>) -> Option<&'r UpstreamRecord<'r>> {
    record.upstream.as_ref()
}

/// The host that there is a connection to.
fn remote<'r>(record: &'r StreamRecord<'r>) -> Option<&'r Address> {
    let upstream = up(record)?;
    upstream.address.filter(|_| upstream.connected)
}

fn socket(address: &Address) -> Option<SocketAddr> {
    match address {
        Address::Socket(address) => Some(*address),
        Address::Name { .. } | Address::Pipe(_) => None,
    }
}

/// The hosts that were tried: where nothing else is known, the one that was reached.
fn attempted(record: &StreamRecord<'_>, write: fn(&Address, &str) -> String) -> Option<String> {
    let upstream = record.upstream.as_ref()?;
    if upstream.attempted.is_empty() {
        let address = upstream.address.filter(|_| upstream.connected)?;
        return Some(write(address, upstream.host_name.unwrap_or_default()));
    }
    let tried = upstream.attempted.iter();
    let tried: Vec<_> = tried.map(|(address, name)| write(address, name)).collect();
    Some(tried.join(","))
}

fn name_or_address(address: &Address, name: &str) -> String {
    match name {
        "" => address.to_string(),
        name => name.to_owned(),
    }
}

/// The host's name, or its address where it has none.
fn host_name<'r>(record: &'r StreamRecord<'r>) -> Option<String> {
    let upstream = up(record)?;
    let address = upstream.address?;
    Some(name_or_address(
        address,
        upstream.host_name.unwrap_or_default(),
    ))
}

fn host_name_without_port<'r>(record: &'r StreamRecord<'r>) -> Option<String> {
    Some(without_port(&host_name(record)?))
}

fn without_port(name: &str) -> String {
    match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => name.to_owned(),
    }
}

/// The digests of certificates, joined by commas.
pub(super) fn digests(certificates: &[Vec<u8>], algorithm: &'static Algorithm) -> String {
    let one = |der: &Vec<u8>| certificate::hexadecimal(digest::digest(algorithm, der).as_ref());
    let all: Vec<_> = certificates.iter().map(one).collect();
    all.join(",")
}

/// A version 4 UUID of its own for each record.
pub(super) fn unique_id(record: &StreamRecord<'_>) -> String {
    let start = u64::try_from(record.start.as_nanos()).unwrap_or(u64::MAX);
    let first = mix(record.stream_id ^ start);
    let second = mix(first ^ record.connection.id);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
        first >> 32,
        first >> 16 & 0xffff,
        first & 0xfff,
        8 | second >> 62,
        second >> 48 & 0xfff,
        second & 0xffff_ffff_ffff,
    )
}

/// Spreads a number over all bits (splitmix64).
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
