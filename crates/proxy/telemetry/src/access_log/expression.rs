//! What an expression in CEL says of a request or a connection: whether it is logged
//! (`ExpressionFilter`), or a part of its line (`%CEL(..)%`).
//!
//! In: a record. Out: a value. The attributes are Envoy's (`request`, `response`, `source`,
//! `destination`, `connection`, `upstream`, `xds`, `metadata`, `filter_state`); only those that the expression
//! names are made. An attribute that is not there makes an error, and with an error nothing passes and nothing is written.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};
use http::{HeaderMap, HeaderName, header};
use meltemi_ir::{Address, Metadata};

use crate::{GrpcStatus, RecordFields, ResponseFlags, StreamRecord, TlsInfo};

/// A compiled expression.
#[derive(Clone)]
pub(super) struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
    env: Arc<Env>,
    /// What it names at the top, such as `request`.
    names: Box<[&'static str]>,
}

/// Attributes of one name.
type Attributes = fn(&StreamRecord<'_>) -> Fields;

/// The names that an expression may begin with.
const NAMES: [(&str, Attributes); 9] = [
    ("connection", connection),
    ("destination", destination),
    ("filter_state", filter_state),
    ("metadata", |record| metadata(record.dynamic_metadata)),
    ("request", request),
    ("response", response),
    ("source", source),
    ("upstream", upstream),
    ("xds", xds),
];

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let env = Arc::new(Env::stdlib());
        let program = env.compile(text).map_err(|error| error.to_string())?;
        let references = program.references();
        let mut names = Vec::new();
        for variable in references.variables() {
            let known = NAMES.iter().find(|(name, _)| *name == variable);
            let (name, _) = known.ok_or_else(|| format!("there is no attribute {variable:?}"))?;
            names.push(*name);
        }
        Ok(Self {
            text: text.into(),
            program: Arc::new(program),
            env,
            names: names.into(),
        })
    }

    /// Whether a record passes.
    pub(super) fn passes(&self, record: &StreamRecord<'_>) -> bool {
        matches!(self.value(record), Some(Value::Bool(true)))
    }

    /// What it says of a record, as text.
    pub(super) fn text(&self, record: &StreamRecord<'_>) -> Option<String> {
        Some(match self.value(record)? {
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::String(text) => text.as_ref().clone(),
            Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null => "NULL".to_owned(),
            // As Envoy has it.
            Value::Map(_) => "CelMap value".to_owned(),
            Value::List(_) => "CelList value".to_owned(),
            _ => return None,
        })
    }

    /// What it says of a record, as JSON.
    pub(super) fn json(&self, record: &StreamRecord<'_>) -> Option<serde_json::Value> {
        json(&self.value(record)?)
    }

    fn value(&self, record: &StreamRecord<'_>) -> Option<Value> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, attributes) in NAMES {
            if self.names.contains(&name) {
                context.add_variable_from_value(name, attributes(record).into_value());
            }
        }
        self.program.execute(&context).ok()
    }

    /// The headers that a record must hold: all that could be one in the text, for what is asked of a header may
    /// be written in several ways.
    pub(super) fn fields(&self) -> RecordFields {
        let is_in_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let words = self.text.split(|c| !is_in_a_name(c));
        let headers: Vec<_> = words
            .filter_map(|word| HeaderName::from_bytes(word.as_bytes()).ok())
            .collect();
        let mut fields = RecordFields::default();
        fields.merge(&GrpcStatus::fields());
        let usual = [header::REFERER, header::USER_AGENT, REQUEST_ID];
        fields.request_headers.extend(usual);
        fields.request_headers.extend(headers.iter().cloned());
        fields.response_headers.extend(headers.iter().cloned());
        fields.response_trailers.extend(headers);
        fields
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The members of an attribute.
#[derive(Default)]
struct Fields(HashMap<Key, Value>);

impl Fields {
    /// Adds a member, where it is there.
    fn add(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.0.insert(Key::from(name), value);
        }
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        let text = text.filter(|text| !text.is_empty());
        self.add(name, text.map(self::text));
    }

    fn number(&mut self, name: &str, number: u64) {
        self.add(name, Some(int(number)));
    }

    fn into_value(self) -> Value {
        Value::Map(Map {
            map: Arc::new(self.0),
        })
    }
}

fn request(record: &StreamRecord<'_>) -> Fields {
    let mut fields = Fields::default();
    fields.number("size", record.bytes_received);
    fields.number(
        "total_size",
        record.bytes_received + record.request_header_bytes,
    );
    let Some(request) = &record.request else {
        fields.add("headers", Some(Fields::default().into_value()));
        return fields;
    };
    let (path, query) = request.path.split_once('?').unwrap_or((request.path, ""));
    fields.text("path", Some(request.path));
    fields.text("url_path", Some(path));
    fields.add("query", Some(text(query)));
    fields.text("host", Some(request.authority));
    fields.text("scheme", Some(request.scheme));
    fields.text("method", Some(request.method));
    let header = |name: &HeaderName| request.headers.get(name)?.to_str().ok();
    fields.text("referer", header(&header::REFERER));
    fields.text("useragent", header(&header::USER_AGENT));
    fields.text("id", header(&REQUEST_ID));
    fields.text("protocol", record.protocol.map(|it| it.as_str()));
    let mut headers = headers(Some(request.headers));
    let pseudo = [
        (":path", request.path),
        (":method", request.method),
        (":authority", request.authority),
        ("host", request.authority),
        (":scheme", request.scheme),
    ];
    for (name, value) in pseudo {
        headers.text(name, Some(value));
    }
    fields.add("headers", Some(headers.into_value()));
    fields
}

fn response(record: &StreamRecord<'_>) -> Fields {
    let mut fields = Fields::default();
    let code = record.response_code.map(|code| int(code.into()));
    fields.add("code", code);
    fields.text("code_details", record.response_code_details);
    fields.number("flags", bits(record.flags));
    let status = GrpcStatus::of(record).map(|status| int(status.0.into()));
    fields.add("grpc_status", status);
    fields.add(
        "headers",
        Some(headers(record.response_headers).into_value()),
    );
    fields.add(
        "trailers",
        Some(headers(record.response_trailers).into_value()),
    );
    fields.number("size", record.bytes_sent);
    fields.number(
        "total_size",
        record.bytes_sent + record.response_header_bytes,
    );
    fields
}

fn source(record: &StreamRecord<'_>) -> Fields {
    at(record.remote.unwrap_or(record.connection.remote))
}

fn destination(record: &StreamRecord<'_>) -> Fields {
    at(record.connection.local)
}

fn at(address: SocketAddr) -> Fields {
    let mut fields = Fields::default();
    fields.add("address", Some(text(&address.to_string())));
    fields.number("port", address.port().into());
    fields
}

fn connection(record: &StreamRecord<'_>) -> Fields {
    let connection = record.connection;
    let mut fields = Fields::default();
    fields.number("id", connection.id);
    let tls = connection.tls.as_ref();
    let mutual = tls.is_some_and(|tls| tls.peer_presented);
    fields.add("mtls", Some(Value::Bool(mutual)));
    let server_name = connection.requested_server_name.as_deref();
    fields.text("requested_server_name", server_name);
    fields.text("termination_details", record.termination_details);
    certificates(&mut fields, tls);
    fields
}

/// What is known of TLS on one side.
fn certificates(fields: &mut Fields, tls: Option<&TlsInfo>) {
    let Some(tls) = tls else { return };
    fields.text("tls_version", Some(tls.version));
    fields.text("subject_local_certificate", Some(&tls.local_subject));
    fields.text("subject_peer_certificate", Some(&tls.peer_subject));
    let first = |names: &[String]| names.first().cloned();
    let names = [
        ("dns_san_local_certificate", first(&tls.local_dns_sans)),
        ("dns_san_peer_certificate", first(&tls.peer_dns_sans)),
        ("uri_san_local_certificate", first(&tls.local_uri_sans)),
        ("uri_san_peer_certificate", first(&tls.peer_uri_sans)),
    ];
    for (name, value) in names {
        fields.text(name, value.as_deref());
    }
    let digest = Some(tls.peer_fingerprint_256.as_str());
    fields.text("sha256_peer_certificate_digest", digest);
}

fn upstream(record: &StreamRecord<'_>) -> Fields {
    let mut fields = Fields::default();
    fields.number("request_attempt_count", record.attempts.into());
    let Some(upstream) = &record.upstream else {
        return fields;
    };
    fields.add("address", upstream.address.map(|it| text(&it.to_string())));
    if let Some(Address::Socket(address)) = upstream.address {
        fields.number("port", address.port().into());
    }
    let local = upstream.local_address.map(|it| text(&it.to_string()));
    fields.add("local_address", local);
    fields.text("transport_failure_reason", upstream.transport_failure);
    certificates(&mut fields, upstream.tls);
    fields
}

fn xds(record: &StreamRecord<'_>) -> Fields {
    let mut fields = Fields::default();
    fields.text("route_name", record.route_name);
    fields.text("virtual_host_name", record.virtual_host);
    fields.text(
        "filter_chain_name",
        record.connection.filter_chain.as_deref(),
    );
    let values = |all| Some(metadata(all).into_value());
    fields.add("route_metadata", values(record.route_metadata));
    if let Some(upstream) = &record.upstream {
        fields.text("cluster_name", Some(upstream.cluster));
        fields.add("cluster_metadata", values(upstream.cluster_metadata));
        fields.add("upstream_host_metadata", values(upstream.host_metadata));
    }
    fields
}

fn metadata(all: Option<&Metadata>) -> Fields {
    let mut fields = Fields::default();
    let filters = all.into_iter().flat_map(|all| &all.0);
    for (filter, values) in filters {
        let mut of_filter = Fields::default();
        for (key, it) in values {
            of_filter.add(key, Some(value(it)));
        }
        fields.add(filter, Some(of_filter.into_value()));
    }
    // As in Envoy, where it is the message that has the map.
    let mut message = Fields::default();
    message.add("filter_metadata", Some(fields.into_value()));
    message
}

fn filter_state(record: &StreamRecord<'_>) -> Fields {
    let mut fields = Fields::default();
    for (key, it) in record.filter_state.into_iter().flatten() {
        fields.text(key, Some(it));
    }
    fields
}

fn headers(headers: Option<&HeaderMap>) -> Fields {
    let mut fields = Fields::default();
    for name in headers.into_iter().flat_map(HeaderMap::keys) {
        let values = headers.into_iter().flat_map(|it| it.get_all(name));
        let values: Vec<_> = values
            .map(|it| String::from_utf8_lossy(it.as_bytes()))
            .collect();
        fields.add(name.as_str(), Some(text(&values.join(","))));
    }
    fields
}

fn value(value: &meltemi_ir::Value) -> Value {
    use meltemi_ir::Value as Own;
    match value {
        Own::Null => Value::Null,
        Own::Bool(truth) => Value::Bool(*truth),
        Own::Number(number) => Value::Float(*number),
        Own::String(it) => text(it),
        Own::List(values) => Value::List(Arc::new(values.iter().map(self::value).collect())),
        Own::Struct(members) => {
            let mut fields = Fields::default();
            for (key, it) in members {
                fields.add(key, Some(self::value(it)));
            }
            fields.into_value()
        }
    }
}

/// Envoy's bits.
fn bits(flags: ResponseFlags) -> u64 {
    let set = (0..).zip(ResponseFlags::ALL);
    let set = set.filter(|(_, (flag, ..))| flags.contains(*flag));
    set.map(|(bit, _)| 1_u64 << bit).sum()
}

fn json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Null => serde_json::Value::Null,
        Value::List(values) => values.iter().map(json).collect::<Option<_>>()?,
        Value::Map(map) => {
            let members = map.map.iter();
            let members = members.map(|(key, value)| Some((key.to_string(), json(value)?)));
            members.collect::<Option<_>>()?
        }
        _ => return None,
    })
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
