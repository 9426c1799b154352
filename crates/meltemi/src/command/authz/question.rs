//! A request that nobody has sent: what the flags of `meltemi authz check` say of it.
//!
//! In: flags. Out: a [`Question`] whose parts are valid, and the [`Facts`] that policies may ask for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use meltemi_http::RequestView;
use meltemi_ir::{Metadata, Value};
use meltemi_rbac::{Certificate, Facts};

/// Where the JWT filter leaves a token's claims.
const CLAIMS: (&str, &str) = ("envoy.filters.http.jwt_authn", "payload");

/// A request that nobody has sent
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "A request, to ask who decides about it")]
pub(super) struct Flags {
    /// Who asks: a principal, as cluster.local/ns/NAMESPACE/sa/ACCOUNT, or an address, or both by
    /// repeating it [default: plain text from nobody known]
    #[arg(long, value_name = "PRINCIPAL|ADDRESS")]
    from: Vec<Caller>,
    /// The method [default: GET]
    #[arg(long)]
    method: Option<String>,
    /// The path, with its query [default: /]
    #[arg(long)]
    path: Option<String>,
    /// The host [default: the workload's name]
    #[arg(long)]
    host: Option<String>,
    /// A header; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Header>,
    /// A claim of a token that was accepted; may be repeated. A value that is JSON is taken as it is
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<Claim>,
    /// The workload's port, where it has several
    #[arg(long)]
    port: Option<u16>,
}

/// A request that nobody has sent.
#[derive(Debug)]
pub(super) struct Question {
    pub method: String,
    pub path: String,
    pub host: String,
    pub port: Option<u16>,
    headers: HeaderMap,
    /// The caller's identity, as its certificate has it.
    principals: Vec<String>,
    address: IpAddr,
    claims: Metadata,
}

impl Flags {
    /// The question, if one is asked.
    pub(super) fn question(self, workload: &str) -> Option<Question> {
        let Self {
            from,
            method,
            path,
            host,
            headers,
            claims,
            port,
        } = self;
        let asked = !from.is_empty() || !headers.is_empty() || !claims.is_empty();
        let said = [&method, &path, &host].iter().any(|it| it.is_some());
        if !asked && !said && port.is_none() {
            return None;
        }
        let mut question = Question {
            method: method.unwrap_or_else(|| "GET".to_owned()),
            path: path.unwrap_or_else(|| "/".to_owned()),
            host: host.unwrap_or_else(|| workload.to_owned()),
            port,
            headers: HeaderMap::new(),
            principals: Vec::new(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            claims: Metadata::default(),
        };
        for Header(name, value) in headers {
            question.headers.append(name, value);
        }
        for caller in from {
            match caller {
                Caller::Principal(text) => question.principals.push(text),
                Caller::Address(address) => question.address = address,
            }
        }
        let claims: BTreeMap<_, _> = claims.into_iter().map(|it| (it.0, it.1)).collect();
        if !claims.is_empty() {
            let payload = (CLAIMS.1.to_owned(), Value::Struct(claims));
            let filter = (CLAIMS.0.to_owned(), BTreeMap::from([payload]));
            question.claims = Metadata(BTreeMap::from([filter]));
        }
        Some(question)
    }
}

impl Question {
    /// Whether the caller shows a certificate.
    pub(super) fn is_identified(&self) -> bool {
        !self.principals.is_empty()
    }

    /// What policies may ask for: of a request with this path, or of a connection where it is none.
    pub(super) fn facts<'a>(&'a self, path: Option<&'a str>, over_tls: bool) -> Facts<'a> {
        let certificate = over_tls.then(|| Certificate {
            verified: self.is_identified(),
            uris: &self.principals,
            dns: &[],
            subject: "",
        });
        let port = self.port.unwrap_or_default();
        let connection = Facts {
            destination: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            source: self.address,
            direct_remote: self.address,
            remote: self.address,
            certificate,
            ..Facts::none()
        };
        match path {
            None => connection,
            Some(path) => Facts {
                method: &self.method,
                scheme: if over_tls { "https" } else { "http" },
                authority: &self.host,
                path: Some(path),
                headers: &self.headers,
                metadata: (!self.claims.is_empty()).then_some(&self.claims),
                ..connection
            },
        }
    }

    /// The request with this path, as routes see it.
    pub(super) fn view<'a>(&'a self, path: &'a str, over_tls: bool) -> RequestView<'a> {
        RequestView {
            method: &self.method,
            scheme: if over_tls { "https" } else { "http" },
            authority: &self.host,
            path,
            headers: &self.headers,
            random: 0,
            internal: false,
            client_certificate: (over_tls, over_tls),
            metadata: (!self.claims.is_empty()).then_some(&self.claims),
        }
    }

    /// Who asks for what.
    pub(super) fn describe(&self) -> String {
        let nobody = self.address.is_unspecified();
        let who = match (self.principals.as_slice(), nobody) {
            ([], true) => "in plain text".to_owned(),
            ([], false) => format!("from {} in plain text", self.address),
            (names, true) => format!("from {}", names.join(" and ")),
            (names, false) => format!("from {} at {}", names.join(" and "), self.address),
        };
        format!("{} {} {who}", self.method, self.path)
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Caller {
    /// The URI name of a certificate.
    Principal(String),
    Address(IpAddr),
}

impl FromStr for Caller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_prefix("spiffe://").unwrap_or(text);
        match name.split('/').collect::<Vec<_>>().as_slice() {
            [domain, "ns", namespace, "sa", account]
                if ![domain, namespace, account].iter().any(|it| it.is_empty()) =>
            {
                Ok(Self::Principal(format!("spiffe://{name}")))
            }
            _ => Err(
                "write an address, or a principal as cluster.local/ns/NAMESPACE/sa/ACCOUNT"
                    .to_owned(),
            ),
        }
    }
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
        let name = name.trim().parse().map_err(|_| "no name of a header")?;
        let value = value.trim().parse().map_err(|_| "no value of a header")?;
        Ok(Self(name, value))
    }
}

/// A claim.
#[derive(Debug, Clone, PartialEq)]
struct Claim(String, Value);

impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
        let value = match serde_json::from_str(value) {
            Ok(json) => plain(json),
            Err(_) => Value::String(value.to_owned()),
        };
        Ok(Self(name.to_owned(), value))
    }
}

fn plain(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(value),
        Json::Number(value) => Value::Number(value.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Value::String(value),
        Json::Array(list) => Value::List(list.into_iter().map(plain).collect()),
        Json::Object(fields) => {
            Value::Struct(fields.into_iter().map(|(k, v)| (k, plain(v))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_principals_or_addresses() {
        let principal = |text: &str| Ok(Caller::Principal(text.to_owned()));
        let written = "cluster.local/ns/a/sa/b";
        let named = principal("spiffe://cluster.local/ns/a/sa/b");
        assert_eq!(written.parse::<Caller>(), named);
        assert_eq!(format!("spiffe://{written}").parse::<Caller>(), named);
        assert_eq!(
            "10.0.0.1".parse(),
            Ok(Caller::Address([10, 0, 0, 1].into()))
        );
        for wrong in ["", "a/b", "cluster.local/ns//sa/b", "sleep.default"] {
            assert!(wrong.parse::<Caller>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn claims_are_json_where_they_can_be() {
        let list = Value::List(vec![Value::String("a".to_owned())]);
        let text = |text: &str| Value::String(text.to_owned());
        for (claim, value) in [
            ("groups=[\"a\"]", list),
            ("iss=me@here", text("me@here")),
            ("x=a=b", text("a=b")),
            ("n=true", Value::Bool(true)),
        ] {
            assert_eq!(claim.parse::<Claim>().unwrap().1, value, "{claim}");
        }
        assert!("iss".parse::<Claim>().is_err());
    }
}
