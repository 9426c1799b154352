//! A request's head between the two codecs: what came in, checked, in one form whichever
//! version it came in, and what goes out in the form that the upstream's version wants.

mod authority;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Extensions, Method, Request, Version};
use http_body::Body as _;
use meltemi_ir as ir;
use meltemi_upstream::{HttpVersion, UpstreamBody};

use crate::headers::names;
use crate::mutation::PseudoHeaders;
use crate::route::RequestView;

/// A request's head. The authority stands beside the headers; `host` may also still stand
/// among them, as it came.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) secure: bool,
    /// The target says so itself.
    pub(crate) names_scheme: bool,
    pub(crate) authority: HeaderValue,
    /// None for `CONNECT`.
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) headers: HeaderMap,
    /// Among the headers is `host`, equal to the authority.
    pub(crate) host_in_headers: bool,
    /// What an upgrade or an extended `CONNECT` asks for.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) extensions: Extensions,
}

/// Why a request is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It names no host.
    MissingHost,
    /// Its host is no host, or there are several.
    InvalidHost,
    /// Its path does not begin with a slash (`OPTIONS *`).
    RelativePath,
    /// Its target has no path at all.
    NoPath,
    /// Its target is of another scheme.
    InvalidScheme,
}

impl RequestHead {
    /// Takes what the codec parsed. `default_host` stands for a missing one.
    pub(crate) fn new(
        parts: http::request::Parts,
        default_host: Option<&str>,
    ) -> Result<Self, BadHead> {
        let http::request::Parts {
            mut method,
            uri,
            version,
            mut headers,
            mut extensions,
            ..
        } = parts;
        if version == Version::HTTP_2 {
            join_cookies(&mut headers);
        }
        let known = [&Scheme::HTTP, &Scheme::HTTPS];
        if uri.scheme().is_some_and(|scheme| !known.contains(&scheme)) {
            return Err(BadHead::InvalidScheme);
        }
        let mut host_in_headers = false;
        let authority = match uri.authority() {
            Some(authority) => authority::to_value(authority).map_err(|_| BadHead::InvalidHost)?,
            None => {
                let mut hosts = headers.get_all(header::HOST).iter();
                match (hosts.next(), hosts.next()) {
                    (Some(host), None) => {
                        host_in_headers = true;
                        host.clone()
                    }
                    (Some(_), Some(_)) => return Err(BadHead::InvalidHost),
                    (None, _) => default_host
                        .and_then(|host| HeaderValue::from_str(host).ok())
                        .ok_or(BadHead::MissingHost)?,
                }
            }
        };
        if !is_authority(authority.as_bytes()) {
            return Err(if authority.is_empty() {
                BadHead::MissingHost
            } else {
                BadHead::InvalidHost
            });
        }
        let protocol = extensions
            .remove::<meltemi_http2::Protocol>()
            .map(|meltemi_http2::Protocol(name)| name);
        // An extended CONNECT is an upgrade. From here on it has the form that it has in HTTP/1, so that
        // what policies and routes say of upgrades holds for it; bytes alone are no protocol.
        if let Some(protocol) =
            protocol.filter(|it| method == Method::CONNECT && it != "bytestream")
        {
            method = Method::GET;
            headers.insert(header::CONNECTION, names::UPGRADE);
            headers.insert(header::UPGRADE, protocol);
        }
        let path = match uri.path_and_query() {
            Some(path) if method != Method::CONNECT => {
                if !path.as_str().starts_with('/') {
                    return Err(BadHead::RelativePath);
                }
                Some(path.clone())
            }
            _ if method == Method::CONNECT => None,
            _ => return Err(BadHead::NoPath),
        };
        let upgrade = upgrade_of(&headers, version);
        Ok(Self {
            secure: uri.scheme() == Some(&Scheme::HTTPS),
            names_scheme: uri.scheme().is_some(),
            method,
            authority,
            path,
            headers,
            host_in_headers,
            upgrade,
            extensions,
        })
    }

    /// The path and query; empty for `CONNECT`.
    pub(crate) fn path(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::as_str)
    }

    /// The authority as text.
    pub(crate) fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The scheme as text.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// As routing sees it.
    pub(crate) fn view(&self, random: u64) -> RequestView<'_> {
        RequestView {
            method: self.method.as_str(),
            scheme: self.scheme(),
            authority: self.authority(),
            path: self.path(),
            headers: &self.headers,
            random,
            internal: false,
            client_certificate: (false, false),
            metadata: None,
        }
    }

    /// Replaces the authority; nothing happens where `authority` is none.
    pub(crate) fn set_authority(&mut self, authority: HeaderValue) {
        if is_authority(authority.as_bytes()) && authority != self.authority {
            self.authority = authority;
            self.host_in_headers = false;
        }
    }

    /// Replaces path and query; an unusable path changes nothing.
    pub(crate) fn set_path(&mut self, path: String) -> bool {
        match PathAndQuery::from_maybe_shared(bytes::Bytes::from(path)) {
            Ok(path) => {
                self.path = Some(path);
                true
            }
            Err(_) => false,
        }
    }

    /// The request as it goes upstream.
    pub(crate) fn into_request(
        mut self,
        version: HttpVersion,
        body: UpstreamBody,
    ) -> Option<Request<UpstreamBody>> {
        let uri = match version {
            HttpVersion::Http1 => self.http1_target()?,
            HttpVersion::Http2 => self.http2_target()?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() = match version {
            HttpVersion::Http1 => Version::HTTP_11,
            HttpVersion::Http2 => Version::HTTP_2,
        };
        *request.headers_mut() = self.headers;
        if version == HttpVersion::Http1
            && request.body().is_end_stream()
            && expects_content(request.method())
        {
            let none = HeaderValue::from_static("0");
            request
                .headers_mut()
                .entry(header::CONTENT_LENGTH)
                .or_insert(none);
        }
        *request.extensions_mut() = self.extensions;
        Some(request)
    }

    fn http1_target(&mut self) -> Option<Uri> {
        if !self.host_in_headers {
            self.headers.insert(header::HOST, self.authority.clone());
        }
        match (&self.path, &self.upgrade) {
            (None, _) => Uri::builder()
                .authority(self.authority.as_bytes())
                .build()
                .ok(),
            (Some(path), None) => Some(Uri::from(path.clone())),
            (Some(path), Some(protocol)) => {
                self.headers.insert(header::CONNECTION, names::UPGRADE);
                self.headers.insert(header::UPGRADE, protocol.clone());
                Some(Uri::from(path.clone()))
            }
        }
    }

    fn http2_target(&mut self) -> Option<Uri> {
        self.headers.remove(header::HOST);
        if let Some(protocol) = self.upgrade.take() {
            self.headers.remove(header::CONNECTION);
            self.headers.remove(header::UPGRADE);
            self.method = Method::CONNECT;
            protocol.to_str().ok()?;
            self.extensions.insert(meltemi_http2::Protocol(protocol));
        }
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(authority::from_value(&self.authority)?);
        if let Some(path) = self.path.take() {
            parts.scheme = Some(if self.secure {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            });
            parts.path_and_query = Some(path);
        }
        Uri::from_parts(parts).ok()
    }
}

impl PseudoHeaders for RequestHead {
    fn has(&self, target: &ir::HeaderTarget) -> bool {
        !matches!(target, ir::HeaderTarget::Status)
    }

    fn set(&mut self, target: &ir::HeaderTarget, value: HeaderValue) {
        match target {
            ir::HeaderTarget::Authority => self.set_authority(value),
            ir::HeaderTarget::Path => {
                if let Ok(path) = value.to_str() {
                    self.set_path(path.to_owned());
                }
            }
            ir::HeaderTarget::Method => {
                if let Ok(method) = Method::from_bytes(value.as_bytes()) {
                    self.method = method;
                }
            }
            ir::HeaderTarget::Scheme => self.secure = value == names::HTTPS,
            ir::HeaderTarget::Name(_) | ir::HeaderTarget::Status => {}
        }
    }
}

/// The protocol that a request asks to change to, which one of HTTP/2 has in these headers only if it
/// was an extended `CONNECT`; `h2c` is not asked for through us.
fn upgrade_of(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if version != Version::HTTP_11 && version != Version::HTTP_2 {
        return None;
    }
    let protocol = headers.get(header::UPGRADE)?;
    let connection = headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    (connection && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Whether a request of this method says that it has no content (RFC 9110, section 8.6); Envoy says
/// so for all but these.
fn expects_content(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET | Method::HEAD | Method::DELETE | Method::TRACE | Method::CONNECT
    )
}

/// Several `cookie` fields, which HTTP/2 allows, as the one that HTTP/1 wants (RFC 9113, section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(_)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for more in headers.get_all(header::COOKIE).iter().skip(1) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(more.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty()
        && authority.iter().all(|byte| {
            byte.is_ascii_graphic()
                && !matches!(
                    byte,
                    b'/' | b'?'
                        | b'#'
                        | b'@'
                        | b'\\'
                        | b'"'
                        | b'<'
                        | b'>'
                        | b'^'
                        | b'`'
                        | b'{'
                        | b'|'
                        | b'}'
                        | b','
                )
        })
}

/// Whether an HTTP/1 request may use the method: Envoy's parser knows these and no others.
pub(crate) fn is_standard_method(method: &Method) -> bool {
    const MORE: [&str; 24] = [
        "ACL",
        "BIND",
        "CHECKOUT",
        "COPY",
        "LINK",
        "LOCK",
        "M-SEARCH",
        "MERGE",
        "MKACTIVITY",
        "MKCALENDAR",
        "MKCOL",
        "MOVE",
        "NOTIFY",
        "PROPFIND",
        "PROPPATCH",
        "PURGE",
        "REBIND",
        "REPORT",
        "SEARCH",
        "SOURCE",
        "SUBSCRIBE",
        "UNBIND",
        "UNLINK",
        "UNLOCK",
    ];
    matches!(
        *method,
        Method::GET
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::HEAD
            | Method::OPTIONS
            | Method::CONNECT
            | Method::PATCH
            | Method::TRACE
    ) || MORE.contains(&method.as_str())
        || method.as_str() == "UNSUBSCRIBE"
}
