//! What an authorization service says, in one form whichever protocol it speaks.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use meltemi_ir as ir;

use crate::head::RequestHead;
use crate::headers::client_cert::append;

/// What a service says.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request may pass.
    Allowed(Box<Allowed>),
    /// It may not.
    Denied(Box<Denied>),
    /// Nothing that could be understood.
    Error,
}

/// The request may pass, so changed.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) request: Changes,
    pub(super) response: Changes,
    pub(super) metadata: BTreeMap<String, ir::Value>,
}

/// The request gets this answer.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) status: StatusCode,
    pub(super) headers: Changes,
    pub(super) body: Bytes,
    pub(super) metadata: BTreeMap<String, ir::Value>,
}

/// What happens to a header that is there already, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It is replaced, or added.
    Set,
    /// It gets one value more.
    Add,
    /// Its value gets longer; nothing happens where it is not there.
    Join,
    /// It is added where it is not there.
    IfAbsent,
    /// It is replaced where it is there.
    IfPresent,
}

/// Changes to headers and to query parameters, in order.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) headers: Vec<(String, Bytes, How)>,
    pub(super) remove: Vec<String>,
    pub(super) set_query: Vec<(String, String)>,
    pub(super) remove_query: Vec<String>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.remove.is_empty()
            && self.set_query.is_empty()
            && self.remove_query.is_empty()
    }

    /// Changes headers. A header that is set several times has all these values in the end.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, _, how) in &self.headers {
            if *how == How::Set
                && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
            {
                headers.remove(name);
            }
        }
        for (name, value, how) in &self.headers {
            let how = if *how == How::Set { How::Add } else { *how };
            change(headers, name, value, how);
        }
    }

    /// Changes a request. Returns whether there was anything to change.
    pub(super) fn apply_to_request(&self, head: &mut RequestHead) -> bool {
        for (name, value, how) in &self.headers {
            match name.as_str() {
                ":path" => {
                    if let Ok(path) = std::str::from_utf8(value) {
                        head.set_path(path.to_owned());
                    }
                }
                ":method" => {
                    if let Ok(method) = Method::from_bytes(value) {
                        head.method = method;
                    }
                }
                ":authority" | "host" => {
                    if let Ok(host) = HeaderValue::from_maybe_shared(value.clone()) {
                        head.set_authority(host);
                    }
                }
                name if name.starts_with(':') => {}
                name => change(&mut head.headers, name, value, *how),
            }
        }
        for name in &self.remove {
            // A request without them would be none.
            let kept = name.starts_with(':') || name.eq_ignore_ascii_case("host");
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
                && !kept
            {
                head.headers.remove(name);
            }
        }
        if !self.set_query.is_empty() || !self.remove_query.is_empty() {
            let path = self.query(head.path());
            head.set_path(path);
        }
        !self.is_empty()
    }

    /// The path with its query changed; parameters are put in the order of their names.
    fn query(&self, path: &str) -> String {
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let mut pairs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.entry(name).or_default().push(value);
        }
        for (name, value) in &self.set_query {
            pairs.insert(name, vec![value]);
        }
        for name in &self.remove_query {
            pairs.remove(name.as_str());
        }
        let pairs: Vec<String> = pairs
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name, value)))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if pairs.is_empty() {
            bare.to_owned()
        } else {
            format!("{bare}?{}", pairs.join("&"))
        }
    }
}

/// Changes one header; what is no header changes nothing.
fn change(headers: &mut HeaderMap, name: &str, value: &Bytes, how: How) {
    let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_maybe_shared(value.clone()),
    ) else {
        return;
    };
    if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
        // The body's framing is the proxy's own affair.
        return;
    }
    match how {
        How::Set => {
            headers.insert(name, value);
        }
        How::Add => {
            headers.append(name, value);
        }
        How::Join => {
            if headers.contains_key(&name) {
                append(headers, &name, value.as_bytes(), b",");
            }
        }
        How::IfAbsent => {
            headers.entry(name).or_insert(value);
        }
        How::IfPresent => {
            if headers.contains_key(&name) {
                headers.insert(name, value);
            }
        }
    }
}
