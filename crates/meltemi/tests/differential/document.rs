//! A bootstrap as written, put on free loopback ports so that two programs can run it at once.
//!
//! In: the text of a bootstrap, where its upstreams are. Out: a JSON document, and where it listens.
//! Called before a program is started.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use meltemi_testkit::{Pki, free_port};
use meltemi_tls::CertificateInfo;
use serde_json::{Value, json};

/// A bootstrap with addresses of this machine.
pub struct Placed {
    /// The document.
    pub document: Value,
    /// Its administration endpoint.
    pub admin: SocketAddr,
    /// Its listeners by name, those of files included.
    pub listeners: BTreeMap<String, SocketAddr>,
    /// The files beside it.
    pub files: BTreeMap<String, Value>,
}

/// Reads YAML.
pub fn read(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The directory of the cases.
pub fn own_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential")
}

/// Gives the administration endpoint and every listener that is bound a free port, every endpoint
/// whose host name is in `upstreams` the address that stands there, and replaces in every text
/// `${dir}` by `directory`, `${port:NAME}` by the port of the listener of that name, and
/// `${hash:NAME}` and `${spki:NAME}` by the digests of the certificate of that name. The same is done
/// in the resources of `files`.
pub fn place(
    mut document: Value,
    mut files: BTreeMap<String, Value>,
    upstreams: &BTreeMap<String, u16>,
    directory: &Path,
    pki: &Pki,
) -> Placed {
    let admin = loopback();
    document["admin"]["address"] = socket_address(admin);
    let mut listeners = BTreeMap::new();
    let written = document["static_resources"]["listeners"].as_array_mut();
    for listener in written.into_iter().flatten() {
        let name = listener["name"].as_str().unwrap_or_default().to_owned();
        if listener["bind_to_port"] == false {
            continue;
        }
        let wanted = listener["address"]["socket_address"]["address"].as_str();
        let wanted = wanted.and_then(|it| it.parse().ok());
        let ip = wanted.unwrap_or(Ipv4Addr::LOCALHOST);
        let address = loopback();
        listener["address"] = socket_address((ip, address.port()).into());
        listeners.insert(name.clone(), address);
        let more = listener["additional_addresses"].as_array_mut();
        for (number, additional) in more.into_iter().flatten().enumerate() {
            let address = loopback();
            additional["address"] = socket_address(address);
            listeners.insert(format!("{name}+{}", number + 1), address);
        }
    }
    let clusters = document["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        let kind = cluster["type"].as_str().unwrap_or_default();
        let host = match kind {
            "LOGICAL_DNS" | "STRICT_DNS" => "localhost",
            _ => "127.0.0.1",
        };
        visit(cluster, &mut |object| {
            let named = object.get("address").and_then(Value::as_str);
            if let Some(port) = named.and_then(|name| upstreams.get(name)) {
                object.insert("address".to_owned(), json!(host));
                object.insert("port_value".to_owned(), json!(port));
            }
        });
    }
    let lists = files
        .values_mut()
        .filter_map(|file| file.get_mut("resources")?.as_array_mut());
    for resource in lists.flatten() {
        let kind = resource["@type"].as_str().unwrap_or_default();
        if kind.ends_with(".Listener") {
            let name = resource["name"].as_str().unwrap_or_default().to_owned();
            let address = *listeners.entry(name).or_insert_with(loopback);
            resource["address"] = socket_address(address);
        }
        visit(resource, &mut |object| {
            let named = object.get("address").and_then(Value::as_str);
            if let Some(port) = named.and_then(|name| upstreams.get(name)) {
                object.insert("address".to_owned(), json!("127.0.0.1"));
                object.insert("port_value".to_owned(), json!(port));
            }
        });
    }
    let with = |text: &str| {
        let mut filled = text.replace("${dir}", &directory.display().to_string());
        for (name, address) in &listeners {
            let place = format!("${{port:{name}}}");
            if filled == place {
                return json!(address.port());
            }
            filled = filled.replace(&place, &address.port().to_string());
        }
        if let Some(name) = placed(&filled, "hash") {
            return json!(fingerprint(pki.der(name)));
        }
        if let Some(name) = placed(&filled, "spki") {
            return json!(key_digest(pki.der(name)));
        }
        json!(filled)
    };
    fill(&mut document, &with);
    files.values_mut().for_each(|file| fill(file, &with));
    Placed {
        document,
        admin,
        listeners,
        files,
    }
}

/// The name in a place of this kind, where that is all of the text.
fn placed<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let rest = text.strip_prefix("${")?.strip_prefix(kind)?;
    rest.strip_prefix(':')?.strip_suffix('}')
}

fn fingerprint(certificate: &[u8]) -> String {
    info(certificate).sha256
}

fn key_digest(certificate: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(info(certificate).spki_sha256)
}

fn info(certificate: &[u8]) -> CertificateInfo {
    CertificateInfo::read(&certificate.into()).unwrap()
}

/// What today's Envoy wants and older ones did not: the type of a filter that is configured by its
/// name alone.
pub fn with_filter_types(mut document: Value) -> Value {
    visit(&mut document, &mut |object| {
        let router =
            object.get("name").and_then(Value::as_str) == Some("envoy.filters.http.router");
        if router && !object.contains_key("typed_config") {
            let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
            object.insert("typed_config".to_owned(), json!({ "@type": router }));
        }
    });
    document
}

/// A free address for a program that must be told its port.
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// An address in Envoy's form.
pub fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// Calls `change` on every object of a document, outer ones first.
fn visit(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|inner| visit(inner, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| visit(inner, change)),
        _ => {}
    }
}

/// Replaces every text of a document that has a place to fill.
fn fill(value: &mut Value, with: &impl Fn(&str) -> Value) {
    match value {
        Value::String(text) if text.contains("${") => *value = with(text),
        Value::Object(object) => object.values_mut().for_each(|inner| fill(inner, with)),
        Value::Array(items) => items.iter_mut().for_each(|inner| fill(inner, with)),
        _ => {}
    }
}
