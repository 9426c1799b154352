//! The upstreams a service calls: URIs as configured, and the paths that lead to them.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// One upstream to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamUri {
    /// As written, which is how the report names it.
    pub(crate) written: String,
    authority: Authority,
    path: String,
    query: Option<String>,
}

/// Requests for `prefix`, and for paths below it, call `upstream` with the rest of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamRoute {
    pub(crate) prefix: String,
    pub(crate) upstream: UpstreamUri,
}

impl UpstreamUri {
    /// Reads an absolute `http://` URI; an error says what is wrong with it.
    pub(crate) fn parse(written: &str) -> Result<Self, &'static str> {
        let uri: Uri = written.parse().map_err(|_| "no URI")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("grpc") => {
                return Err("a gRPC upstream, and only http:// upstreams can be called");
            }
            Some("https") => {
                return Err("an https upstream; call http:// and let the mesh originate TLS");
            }
            _ => return Err("no absolute http:// URI"),
        }
        let authority = uri.authority().ok_or("a URI without a host")?.clone();
        Ok(Self {
            written: written.to_owned(),
            authority,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The URI to call, with more path and query from the request that causes the call.
    pub(crate) fn extended(&self, rest: &str, query: Option<&str>) -> Uri {
        let rest = rest.trim_start_matches('/');
        let mut target = self.path.clone();
        if !rest.is_empty() {
            if !target.ends_with('/') {
                target.push('/');
            }
            target.push_str(rest);
        }
        let queries = [self.query.as_deref(), query];
        for (query, mark) in queries.into_iter().flatten().zip(["?", "&"]) {
            target.push_str(mark);
            target.push_str(query);
        }
        let target =
            PathAndQuery::try_from(target).expect("parts of two valid URIs make a valid one");
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).expect("scheme, authority and path make a URI")
    }
}

impl UpstreamRoute {
    /// Reads `/path=http://host/path`.
    pub(crate) fn parse(written: &str) -> Result<Self, &'static str> {
        let (prefix, upstream) = written.split_once('=').ok_or("no PATH=URI pair")?;
        let prefix = prefix.trim();
        if !prefix.starts_with('/') {
            return Err("a path that does not begin with /");
        }
        let upstream = UpstreamUri::parse(upstream.trim())?;
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            upstream,
        })
    }

    /// What follows the prefix, when the path is the prefix or lies below it.
    pub(crate) fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.prefix)
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests;
