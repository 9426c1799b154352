//! Entries of Envoy's own log service (`envoy.data.accesslog.v3`), as far as they are written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName};
use meltemi_ir::{Address as Host, Metadata as Values, Value};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::value::Kind;

use super::{LogSource, among, bytes};
use crate::{Protocol, ResponseFlags, StreamRecord, TlsInfo};

/// Headers of Envoy's that an entry has a field for.
pub(super) const USUAL: [HeaderName; 3] = [FORWARDED_FOR, REQUEST_ID, ORIGINAL_PATH];
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// Headers that are told besides those that have a field.
pub(super) struct Told<'a> {
    pub(super) request_headers: &'a [HeaderName],
    pub(super) response_headers: &'a [HeaderName],
    pub(super) response_trailers: &'a [HeaderName],
}

/// `HTTPAccessLogEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpEntry {
    #[prost(message, optional, tag = "1")]
    common: Option<Common>,
    #[prost(int32, tag = "2")]
    protocol_version: i32,
    #[prost(message, optional, tag = "3")]
    request: Option<Request>,
    #[prost(message, optional, tag = "4")]
    response: Option<Response>,
}

/// `TCPAccessLogEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TcpEntry {
    #[prost(message, optional, tag = "1")]
    common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    connection: Option<Connection>,
}

/// `ConnectionProperties`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Connection {
    #[prost(uint64, tag = "1")]
    received_bytes: u64,
    #[prost(uint64, tag = "2")]
    sent_bytes: u64,
}

/// `AccessLogCommon`.
#[derive(Clone, PartialEq, prost::Message)]
struct Common {
    #[prost(message, optional, tag = "2")]
    downstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "3")]
    downstream_local_address: Option<Address>,
    #[prost(message, optional, tag = "4")]
    tls_properties: Option<Tls>,
    #[prost(message, optional, tag = "5")]
    start_time: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "6")]
    time_to_last_rx_byte: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "8")]
    time_to_last_upstream_tx_byte: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "9")]
    time_to_first_upstream_rx_byte: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "12")]
    time_to_last_downstream_tx_byte: Option<prost_types::Duration>,
    #[prost(message, optional, tag = "13")]
    upstream_remote_address: Option<Address>,
    #[prost(message, optional, tag = "14")]
    upstream_local_address: Option<Address>,
    #[prost(string, tag = "15")]
    upstream_cluster: String,
    /// `ResponseFlags`, encoded.
    #[prost(bytes = "vec", optional, tag = "16")]
    response_flags: Option<Vec<u8>>,
    #[prost(message, optional, tag = "17")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "18")]
    upstream_transport_failure_reason: String,
    #[prost(string, tag = "19")]
    route_name: String,
    #[prost(message, optional, tag = "20")]
    downstream_direct_remote_address: Option<Address>,
    #[prost(message, optional, tag = "23")]
    duration: Option<prost_types::Duration>,
    #[prost(uint32, tag = "24")]
    upstream_request_attempt_count: u32,
    #[prost(string, tag = "25")]
    connection_termination_details: String,
    #[prost(string, tag = "26")]
    stream_id: String,
    #[prost(bool, tag = "27")]
    intermediate_log_entry: bool,
    #[prost(string, tag = "28")]
    downstream_transport_failure_reason: String,
    #[prost(uint64, tag = "29")]
    downstream_wire_bytes_sent: u64,
    #[prost(uint64, tag = "30")]
    downstream_wire_bytes_received: u64,
    #[prost(uint64, tag = "31")]
    upstream_wire_bytes_sent: u64,
    #[prost(uint64, tag = "32")]
    upstream_wire_bytes_received: u64,
    #[prost(int32, tag = "33")]
    access_log_type: i32,
}

/// `HTTPRequestProperties`.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(int32, tag = "1")]
    request_method: i32,
    #[prost(string, tag = "2")]
    scheme: String,
    #[prost(string, tag = "3")]
    authority: String,
    #[prost(string, tag = "5")]
    path: String,
    #[prost(string, tag = "6")]
    user_agent: String,
    #[prost(string, tag = "7")]
    referer: String,
    #[prost(string, tag = "8")]
    forwarded_for: String,
    #[prost(string, tag = "9")]
    request_id: String,
    #[prost(string, tag = "10")]
    original_path: String,
    #[prost(uint64, tag = "11")]
    request_headers_bytes: u64,
    #[prost(uint64, tag = "12")]
    request_body_bytes: u64,
    #[prost(btree_map = "string, string", tag = "13")]
    request_headers: BTreeMap<String, String>,
    #[prost(uint64, tag = "14")]
    upstream_header_bytes_sent: u64,
    #[prost(uint64, tag = "15")]
    downstream_header_bytes_received: u64,
}

/// `HTTPResponseProperties`.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    response_code: Option<u32>,
    #[prost(uint64, tag = "2")]
    response_headers_bytes: u64,
    #[prost(uint64, tag = "3")]
    response_body_bytes: u64,
    #[prost(btree_map = "string, string", tag = "4")]
    response_headers: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "5")]
    response_trailers: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    response_code_details: String,
    #[prost(uint64, tag = "7")]
    upstream_header_bytes_received: u64,
    #[prost(uint64, tag = "8")]
    downstream_header_bytes_sent: u64,
}

/// `TLSProperties`.
#[derive(Clone, PartialEq, prost::Message)]
struct Tls {
    #[prost(int32, tag = "1")]
    tls_version: i32,
    #[prost(string, tag = "3")]
    tls_sni_hostname: String,
    #[prost(message, optional, tag = "4")]
    local_certificate_properties: Option<Certificate>,
    #[prost(message, optional, tag = "5")]
    peer_certificate_properties: Option<Certificate>,
    #[prost(string, tag = "6")]
    tls_session_id: String,
}

/// `TLSProperties.CertificateProperties`.
#[derive(Clone, PartialEq, prost::Message)]
struct Certificate {
    #[prost(message, repeated, tag = "1")]
    subject_alt_name: Vec<AltName>,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    issuer: String,
}

/// `TLSProperties.CertificateProperties.SubjectAltName`.
#[derive(Clone, PartialEq, prost::Message)]
struct AltName {
    #[prost(string, optional, tag = "1")]
    uri: Option<String>,
    #[prost(string, optional, tag = "2")]
    dns: Option<String>,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, prost::Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
    #[prost(message, optional, tag = "2")]
    pipe: Option<Pipe>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, prost::Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port_value: u32,
}

/// `envoy.config.core.v3.Pipe`.
#[derive(Clone, PartialEq, prost::Message)]
struct Pipe {
    #[prost(string, tag = "1")]
    path: String,
}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, prost_types::Struct>,
}

/// `StreamAccessLogsMessage.Identifier`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Identifier {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(string, tag = "2")]
    log_name: String,
}

/// `envoy.config.core.v3.Node`.
#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    cluster: String,
}

/// Which log it is, of which node.
pub(super) fn identifier(name: &str, source: LogSource<'_>) -> Identifier {
    Identifier {
        node: Some(Node {
            id: source.node.to_owned(),
            cluster: source.cluster.to_owned(),
        }),
        log_name: name.to_owned(),
    }
}

/// The entry of a request.
pub(super) fn http(record: &StreamRecord<'_>, told: &Told<'_>) -> HttpEntry {
    let upstream = record.upstream.as_ref();
    HttpEntry {
        common: Some(common(record)),
        protocol_version: match record.protocol {
            None => 0,
            Some(Protocol::Http10) => 1,
            Some(Protocol::Http11) => 2,
            Some(Protocol::Http2) => 3,
        },
        request: Some(request(record, told)),
        response: Some(Response {
            response_code: record.response_code.map(u32::from),
            response_headers_bytes: record.response_header_text,
            response_body_bytes: record.bytes_sent,
            response_headers: among(record.response_headers, told.response_headers).collect(),
            response_trailers: among(record.response_trailers, told.response_trailers).collect(),
            response_code_details: text(record.response_code_details),
            upstream_header_bytes_received: upstream.map_or(0, |it| it.received.headers),
            downstream_header_bytes_sent: record.sent.headers,
        }),
    }
}

/// The entry of a TCP connection.
pub(super) fn tcp(record: &StreamRecord<'_>) -> TcpEntry {
    TcpEntry {
        common: Some(common(record)),
        connection: Some(Connection {
            received_bytes: record.bytes_received,
            sent_bytes: record.bytes_sent,
        }),
    }
}

fn request(record: &StreamRecord<'_>, told: &Told<'_>) -> Request {
    let request = record.request.as_ref();
    let headers = request.map(|it| it.headers);
    Request {
        request_method: request.map_or(0, |it| method(it.method)),
        scheme: request.map(|it| it.scheme.to_owned()).unwrap_or_default(),
        authority: request
            .map(|it| it.authority.to_owned())
            .unwrap_or_default(),
        path: request.map(|it| it.path.to_owned()).unwrap_or_default(),
        user_agent: header(headers, &USER_AGENT),
        referer: header(headers, &REFERER),
        forwarded_for: header(headers, &FORWARDED_FOR),
        request_id: header(headers, &REQUEST_ID),
        original_path: header(headers, &ORIGINAL_PATH),
        request_headers_bytes: record.request_header_text,
        request_body_bytes: record.bytes_received,
        request_headers: among(headers, told.request_headers).collect(),
        upstream_header_bytes_sent: record.upstream.as_ref().map_or(0, |it| it.sent.headers),
        downstream_header_bytes_received: record.received.headers,
    }
}

fn common(record: &StreamRecord<'_>) -> Common {
    let connection = record.connection;
    let upstream = record.upstream.as_ref();
    let request_id = record
        .request
        .as_ref()
        .map(|it| header(Some(it.headers), &REQUEST_ID));
    let log_type = record.log_type.unwrap_or(match record.protocol {
        Some(_) => "DownstreamEnd",
        None => "TcpConnectionEnd",
    });
    Common {
        downstream_remote_address: Some(socket(record.remote.unwrap_or(connection.remote))),
        downstream_local_address: Some(socket(connection.local)),
        tls_properties: connection
            .tls
            .as_ref()
            .map(|info| tls(info, connection.requested_server_name.as_deref())),
        start_time: Some(prost_types::Timestamp {
            seconds: i64::try_from(record.start.as_secs()).unwrap_or(i64::MAX),
            nanos: nanos(record.start),
        }),
        time_to_last_rx_byte: record.request_done.map(duration),
        time_to_last_upstream_tx_byte: record.request_sent.map(duration),
        time_to_first_upstream_rx_byte: record.response_started.map(duration),
        time_to_last_downstream_tx_byte: record.response_done.map(duration),
        upstream_remote_address: upstream.and_then(|it| it.address).map(host),
        upstream_local_address: upstream.and_then(|it| it.local_address).map(socket),
        upstream_cluster: upstream
            .map(|it| it.alt_stat_name.unwrap_or(it.cluster).to_owned())
            .unwrap_or_default(),
        response_flags: flags(record.flags),
        metadata: record.dynamic_metadata.and_then(metadata),
        upstream_transport_failure_reason: text(upstream.and_then(|it| it.transport_failure)),
        route_name: text(record.route_name),
        downstream_direct_remote_address: Some(socket(connection.direct_remote)),
        duration: record.duration.map(duration),
        upstream_request_attempt_count: record.attempts,
        connection_termination_details: text(record.termination_details),
        stream_id: request_id.unwrap_or_default(),
        intermediate_log_entry: record.duration.is_none(),
        downstream_transport_failure_reason: text(record.downstream_transport_failure),
        downstream_wire_bytes_sent: record.sent.whole,
        downstream_wire_bytes_received: record.received.whole,
        upstream_wire_bytes_sent: upstream.map_or(0, |it| it.sent.whole),
        upstream_wire_bytes_received: upstream.map_or(0, |it| it.received.whole),
        access_log_type: kind(log_type),
    }
}

/// `AccessLogType`.
fn kind(name: &str) -> i32 {
    match name {
        "TcpUpstreamConnected" => 1,
        "TcpPeriodic" => 2,
        "TcpConnectionEnd" => 3,
        "DownstreamStart" => 4,
        "DownstreamPeriodic" => 5,
        "DownstreamEnd" => 6,
        "DownstreamTunnelSuccessfullyEstablished" => 10,
        "TcpConnectionStart" => 14,
        _ => 0,
    }
}

/// `RequestMethod`.
fn method(name: &str) -> i32 {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let at = METHODS.iter().position(|it| *it == name);
    at.and_then(|at| i32::try_from(at + 1).ok()).unwrap_or(0)
}

/// `ResponseFlags`: a flag's field follows from its place among Envoy's.
fn flags(flags: ResponseFlags) -> Option<Vec<u8>> {
    if flags.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for (tag, (flag, ..)) in (1..).zip(ResponseFlags::ALL) {
        if !flags.contains(*flag) || *flag == ResponseFlags::DROP_OVERLOAD {
            continue;
        }
        match *flag {
            // `Unauthorized`, with the reason that it was an external service.
            ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE => bytes(tag, &[0x08, 0x01], &mut out),
            ResponseFlags::DOWNSTREAM_REMOTE_RESET => boolean(28, &mut out),
            _ => boolean(tag, &mut out),
        }
    }
    Some(out)
}

fn boolean(tag: u32, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(1, out);
}

fn tls(info: &TlsInfo, server_name: Option<&str>) -> Tls {
    let names = |uris: &[String], dns: &[String]| {
        let uris = uris.iter().map(|uri| AltName {
            uri: Some(uri.clone()),
            dns: None,
        });
        let dns = dns.iter().map(|dns| AltName {
            uri: None,
            dns: Some(dns.clone()),
        });
        uris.chain(dns).collect()
    };
    Tls {
        tls_version: match info.version {
            "TLSv1" => 1,
            "TLSv1.1" => 2,
            "TLSv1.2" => 3,
            "TLSv1.3" => 4,
            _ => 0,
        },
        tls_sni_hostname: text(server_name),
        local_certificate_properties: Some(Certificate {
            subject_alt_name: names(&info.local_uri_sans, &info.local_dns_sans),
            subject: info.local_subject.clone(),
            issuer: String::new(),
        }),
        peer_certificate_properties: Some(Certificate {
            subject_alt_name: names(&info.peer_uri_sans, &info.peer_dns_sans),
            subject: info.peer_subject.clone(),
            issuer: info.peer_issuer.clone(),
        }),
        tls_session_id: info.session_id.clone(),
    }
}

fn metadata(values: &Values) -> Option<Metadata> {
    if values.0.is_empty() {
        return None;
    }
    let filters = values.0.iter().map(|(filter, fields)| {
        let fields = fields.iter().map(|(key, it)| (key.clone(), value(it)));
        let fields = prost_types::Struct {
            fields: fields.collect(),
        };
        (filter.clone(), fields)
    });
    Some(Metadata {
        filter_metadata: filters.collect(),
    })
}

fn value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(*number),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::List(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(self::value).collect(),
        }),
        Value::Struct(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(key, it)| (key.clone(), self::value(it)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn host(address: &Host) -> Address {
    match address {
        Host::Socket(address) => socket(*address),
        Host::Name { host, port } => Address {
            socket_address: Some(SocketAddress {
                address: host.clone(),
                port_value: u32::from(*port),
            }),
            pipe: None,
        },
        Host::Pipe(path) => Address {
            socket_address: None,
            pipe: Some(Pipe {
                path: path.display().to_string(),
            }),
        },
    }
}

fn socket(address: SocketAddr) -> Address {
    Address {
        socket_address: Some(SocketAddress {
            address: address.ip().to_string(),
            port_value: u32::from(address.port()),
        }),
        pipe: None,
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: nanos(duration),
    }
}

fn nanos(duration: Duration) -> i32 {
    i32::try_from(duration.subsec_nanos()).unwrap_or_default()
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn header(headers: Option<&HeaderMap>, name: &HeaderName) -> String {
    let value = headers.and_then(|headers| headers.get(name));
    value
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}
