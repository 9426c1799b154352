//! The messages of `envoy.service.auth.v3.Authorization`, as far as the filter writes and reads
//! them. They are what the filter speaks, not how it is configured, so that they stand here and not
//! with Envoy's configuration.

use std::collections::BTreeMap;

use meltemi_ir as ir;
use prost_types::value::Kind;

use super::connection::ConnectionInquiry;
use super::inquiry::{Inquiry, Party};

/// `CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<AttributeContext>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
    #[prost(btree_map = "string, string", tag = "10")]
    context_extensions: BTreeMap<String, String>,
    #[prost(message, optional, tag = "11")]
    metadata_context: Option<Metadata>,
    #[prost(message, optional, tag = "12")]
    tls_session: Option<TlsSession>,
    #[prost(message, optional, tag = "13")]
    route_metadata_context: Option<Metadata>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
    #[prost(string, tag = "2")]
    service: String,
    #[prost(string, tag = "4")]
    principal: String,
    #[prost(string, tag = "5")]
    certificate: String,
}

/// `envoy.config.core.v3.Address`.
#[derive(Clone, PartialEq, prost::Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, prost::Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port_value: u32,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    time: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HttpRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    headers: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(int64, tag = "9")]
    size: i64,
    #[prost(string, tag = "10")]
    protocol: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bytes = "vec", tag = "12")]
    raw_body: Vec<u8>,
    #[prost(message, optional, tag = "13")]
    header_map: Option<HeaderMap>,
}

/// `envoy.config.core.v3.HeaderMap`.
#[derive(Clone, PartialEq, prost::Message)]
struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<HeaderValue>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) raw_value: Vec<u8>,
}

/// `AttributeContext.TLSSession`.
#[derive(Clone, PartialEq, prost::Message)]
struct TlsSession {
    #[prost(string, tag = "1")]
    sni: String,
}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, prost_types::Struct>,
}

/// `CheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) denied: Option<DeniedHttpResponse>,
    #[prost(message, optional, tag = "3")]
    pub(super) ok: Option<OkHttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub(super) dynamic_metadata: Option<prost_types::Struct>,
    #[prost(message, optional, tag = "5")]
    pub(super) error: Option<DeniedHttpResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

/// `DeniedHttpResponse`, and `ErrorHttpResponse`, which has the same fields.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(super) body: String,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(message, optional, tag = "3")]
    pub(super) dynamic_metadata: Option<prost_types::Struct>,
    #[prost(string, repeated, tag = "5")]
    pub(super) headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(super) response_headers_to_add: Vec<HeaderValueOption>,
    #[prost(message, repeated, tag = "7")]
    pub(super) query_parameters_to_set: Vec<QueryParameter>,
    #[prost(string, repeated, tag = "8")]
    pub(super) query_parameters_to_remove: Vec<String>,
}

/// `envoy.config.core.v3.QueryParameter`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct QueryParameter {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<HeaderValue>,
    #[prost(message, optional, tag = "2")]
    pub(super) append: Option<BoolValue>,
    #[prost(int32, tag = "3")]
    pub(super) append_action: i32,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BoolValue {
    #[prost(bool, tag = "1")]
    pub(super) value: bool,
}

/// The question.
pub(super) fn request(inquiry: &Inquiry) -> CheckRequest {
    let raw = inquiry.headers.iter().map(|(name, value)| HeaderValue {
        key: name.clone(),
        value: String::new(),
        raw_value: value.to_vec(),
    });
    let (mut body, mut raw_body) = (String::new(), Vec::new());
    if let Some(bytes) = &inquiry.body {
        if inquiry.raw_body {
            raw_body = bytes.to_vec();
        } else {
            body = String::from_utf8_lossy(bytes).into_owned();
        }
    }
    let http = HttpRequest {
        id: inquiry.id.clone(),
        method: inquiry.method.clone(),
        headers: if inquiry.raw_headers {
            BTreeMap::new()
        } else {
            inquiry.joined_headers()
        },
        path: inquiry.path.clone(),
        host: inquiry.host.clone(),
        scheme: inquiry.scheme.to_owned(),
        size: inquiry.size,
        protocol: inquiry.protocol.to_owned(),
        body,
        raw_body,
        header_map: inquiry.raw_headers.then(|| HeaderMap {
            headers: raw.collect(),
        }),
    };
    let time = prost_types::Timestamp {
        seconds: i64::try_from(inquiry.time.as_secs()).unwrap_or_default(),
        nanos: i32::try_from(inquiry.time.subsec_nanos()).unwrap_or_default(),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(&inquiry.source)),
            destination: Some(peer(&inquiry.destination)),
            request: Some(Request {
                time: Some(time),
                http: Some(http),
            }),
            context_extensions: inquiry.context.clone(),
            metadata_context: Some(metadata(&inquiry.metadata)),
            tls_session: inquiry.sni.clone().map(|sni| TlsSession { sni }),
            route_metadata_context: Some(metadata(&inquiry.route_metadata)),
        }),
    }
}

/// The question about a connection.
pub(super) fn connection(inquiry: &ConnectionInquiry) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(&inquiry.source)),
            destination: Some(peer(&inquiry.destination)),
            request: None,
            context_extensions: BTreeMap::new(),
            metadata_context: Some(metadata(&inquiry.metadata)),
            tls_session: inquiry.sni.clone().map(|sni| TlsSession { sni }),
            route_metadata_context: None,
        }),
    }
}

fn peer(party: &Party) -> Peer {
    Peer {
        address: Some(Address {
            socket_address: Some(SocketAddress {
                address: party.address.ip().to_string(),
                port_value: u32::from(party.address.port()),
            }),
        }),
        service: party.service.clone(),
        principal: party.principal.clone(),
        certificate: party.certificate.clone(),
    }
}

fn metadata(metadata: &ir::Metadata) -> Metadata {
    let by_filter = metadata.0.iter();
    Metadata {
        filter_metadata: by_filter
            .map(|(name, fields)| (name.clone(), structure(fields)))
            .collect(),
    }
}

fn structure(fields: &BTreeMap<String, ir::Value>) -> prost_types::Struct {
    prost_types::Struct {
        fields: fields
            .iter()
            .map(|(name, field)| (name.clone(), written(field)))
            .collect(),
    }
}

fn written(value: &ir::Value) -> prost_types::Value {
    let kind = match value {
        ir::Value::Null => Kind::NullValue(0),
        ir::Value::Bool(value) => Kind::BoolValue(*value),
        ir::Value::Number(value) => Kind::NumberValue(*value),
        ir::Value::String(value) => Kind::StringValue(value.clone()),
        ir::Value::List(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(written).collect(),
        }),
        ir::Value::Struct(fields) => Kind::StructValue(structure(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// The fields of a structure that the service sent.
pub(super) fn fields(message: &prost_types::Struct) -> BTreeMap<String, ir::Value> {
    message
        .fields
        .iter()
        .map(|(name, field)| (name.clone(), read(field)))
        .collect()
}

fn read(message: &prost_types::Value) -> ir::Value {
    match &message.kind {
        None | Some(Kind::NullValue(_)) => ir::Value::Null,
        Some(Kind::BoolValue(value)) => ir::Value::Bool(*value),
        Some(Kind::NumberValue(value)) => ir::Value::Number(*value),
        Some(Kind::StringValue(value)) => ir::Value::String(value.clone()),
        Some(Kind::ListValue(list)) => ir::Value::List(list.values.iter().map(read).collect()),
        Some(Kind::StructValue(value)) => ir::Value::Struct(fields(value)),
    }
}
