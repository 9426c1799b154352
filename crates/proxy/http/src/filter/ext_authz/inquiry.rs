//! What a service is told of a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use meltemi_ir as ir;
use meltemi_telemetry::{Protocol, TlsInfo};

use super::RequestContext;
use crate::headers::names;

/// What a service is told.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) source: Party,
    pub(super) destination: Party,
    /// Since the Unix epoch.
    pub(super) time: Duration,
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) scheme: &'static str,
    pub(super) protocol: &'static str,
    /// How much of the body has come.
    pub(super) size: i64,
    /// Headers and pseudo headers that may be told, each value alone.
    pub(super) headers: Vec<(String, Bytes)>,
    /// Headers are told as bytes.
    pub(super) raw_headers: bool,
    pub(super) body: Option<Bytes>,
    /// The body is told as bytes.
    pub(super) raw_body: bool,
    pub(super) context: BTreeMap<String, String>,
    pub(super) metadata: ir::Metadata,
    pub(super) route_metadata: ir::Metadata,
    /// The server name of the TLS session, where it is to be told.
    pub(super) sni: Option<String>,
}

/// One end of the connection.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) address: SocketAddr,
    pub(super) service: String,
    pub(super) principal: String,
    /// In PEM, percent-encoded; empty where it is not to be told.
    pub(super) certificate: String,
}

impl Inquiry {
    pub(super) fn new(
        config: &ir::ExtAuthz,
        body: Option<ir::AuthzBody>,
        context: BTreeMap<String, String>,
        request: &RequestContext<'_>,
    ) -> Self {
        let info = &request.stream.connection.info;
        let head = &*request.head;
        let tls = info.tls.as_ref();
        let text = |name| {
            let value = head.headers.get(name);
            value.map(|value: &http::HeaderValue| {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            })
        };
        let told = body.and_then(|body| {
            let gathered = request.body.gathered();
            let bytes = request.body.gathered_bytes(body.most);
            (gathered > 0).then_some((bytes, gathered > body.most))
        });
        let mut headers = headers(config, request);
        if let Some((_, partial)) = &told {
            let value = if *partial { "true" } else { "false" };
            headers.retain(|(name, _)| name != "x-envoy-auth-partial-body");
            headers.push((
                "x-envoy-auth-partial-body".to_owned(),
                Bytes::from_static(value.as_bytes()),
            ));
        }
        let facts = request.stream.facts.borrow();
        let dynamic = facts.notes.shared().map(|shared| &shared.metadata);
        let mut metadata = choose(Some(&info.metadata), &config.metadata_namespaces);
        metadata
            .0
            .extend(choose(dynamic, &config.metadata_namespaces).0);
        let routes = request.stream.settings.routes.as_ref();
        let route = routes.zip(facts.route);
        let route = route.map(|(table, index)| &table.entry(index).config.metadata);
        Self {
            source: Party {
                address: facts.client.unwrap_or(info.remote),
                service: text(names::DOWNSTREAM_SERVICE_CLUSTER).unwrap_or_default(),
                principal: tls.map(peer_principal).unwrap_or_default(),
                certificate: match tls {
                    Some(tls) if config.include_peer_certificate => certificate(tls),
                    _ => String::new(),
                },
            },
            destination: Party {
                address: info.local,
                service: String::new(),
                principal: tls.map(local_principal).unwrap_or_default(),
                certificate: String::new(),
            },
            time: request.worker().clock.since_epoch(),
            id: request.stream.random.to_string(),
            method: head.method.to_string(),
            path: head.path().to_owned(),
            host: head.authority().to_owned(),
            scheme: head.scheme(),
            protocol: match facts.protocol {
                Protocol::Http10 => "HTTP/1.0",
                Protocol::Http11 => "HTTP/1.1",
                Protocol::Http2 => "HTTP/2",
            },
            size: i64::try_from(request.stream.bytes_received.get()).unwrap_or(i64::MAX),
            headers,
            raw_headers: config.raw_headers,
            body: told.map(|(bytes, _)| bytes),
            raw_body: body.is_some_and(|body| body.bytes),
            context,
            metadata,
            route_metadata: choose(route, &config.route_metadata_namespaces),
            sni: config
                .include_tls_session
                .then(|| info.requested_server_name.clone().unwrap_or_default())
                .filter(|_| tls.is_some()),
        }
    }

    /// The headers by name, several values of one joined by commas.
    pub(super) fn joined_headers(&self) -> BTreeMap<String, String> {
        let mut joined: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value);
            match joined.get_mut(name) {
                Some(known) => {
                    known.push(',');
                    known.push_str(&value);
                }
                None => {
                    joined.insert(name.clone(), value.into_owned());
                }
            }
        }
        joined
    }
}

/// The headers that may be told. A gRPC service is told all, an HTTP service only the most
/// necessary, unless the configuration says which.
fn headers(config: &ir::ExtAuthz, request: &RequestContext<'_>) -> Vec<(String, Bytes)> {
    const NECESSARY: [&str; 4] = [":authority", ":method", ":path", "authorization"];
    let over_http = matches!(config.service, ir::AuthzService::Http(_));
    let fits = |list: &[ir::StringMatch], name: &str| list.iter().any(|it| it.matches(name));
    let may = |name: &str| {
        let allowed = match &config.allowed_headers {
            Some(list) => fits(list, name) || (over_http && NECESSARY.contains(&name)),
            None => !over_http || NECESSARY.contains(&name),
        };
        allowed && !fits(&config.disallowed_headers, name)
    };
    let head = &*request.head;
    let pseudo = [
        (":authority", head.authority()),
        (":path", head.path()),
        (":method", head.method.as_str()),
        (":scheme", head.scheme()),
    ];
    let pseudo = pseudo
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes())));
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| *name != header::HOST);
    let headers = headers.map(|(name, value)| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        (name.as_str().to_owned(), value)
    });
    pseudo
        .chain(headers)
        .filter(|(name, _)| may(name))
        .collect()
}

/// The metadata of these namespaces.
pub(super) fn choose(from: Option<&ir::Metadata>, names: &[String]) -> ir::Metadata {
    let chosen = names.iter().filter_map(|name| {
        let fields = from?.0.get(name)?;
        Some((name.clone(), fields.clone()))
    });
    ir::Metadata(chosen.collect())
}

/// Who the peer is: the first URI or DNS name of its certificate, or its subject.
pub(super) fn peer_principal(tls: &TlsInfo) -> String {
    let names = tls.peer_uri_sans.first().or(tls.peer_dns_sans.first());
    names.unwrap_or(&tls.peer_subject).clone()
}

pub(super) fn local_principal(tls: &TlsInfo) -> String {
    let names = tls.local_uri_sans.first().or(tls.local_dns_sans.first());
    names.unwrap_or(&tls.local_subject).clone()
}

/// The peer's certificate in PEM, percent-encoded.
pub(super) fn certificate(tls: &TlsInfo) -> String {
    use base64::Engine as _;
    let Some(leaf) = tls.peer_chain.first() else {
        return String::new();
    };
    let text = base64::engine::general_purpose::STANDARD.encode(leaf);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let mut encoded = String::with_capacity(pem.len() + 64);
    for letter in pem.chars() {
        match letter {
            '\n' => encoded.push_str("%0A"),
            ' ' => encoded.push_str("%20"),
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            other => encoded.push(other),
        }
    }
    encoded
}
