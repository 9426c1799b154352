//! What is known of a request or a connection: all that a policy can ask for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use http::HeaderMap;
use meltemi_ir::{ClientAddress, MatchedHeader, Metadata, RbacMetadata};

/// What is known of a request, or of a connection that is no HTTP.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The method; empty where there is no request.
    pub method: &'a str,
    /// The scheme; empty where there is no request.
    pub scheme: &'a str,
    /// The authority; empty where there is no request.
    pub authority: &'a str,
    /// The path with its query; none where there is no request, or for a plain `CONNECT`.
    pub path: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Where the connection goes.
    pub destination: SocketAddr,
    /// The connection's client, as listener filters tell.
    pub source: IpAddr,
    /// The socket's peer.
    pub direct_remote: IpAddr,
    /// Whom the connection manager takes for the client.
    pub remote: IpAddr,
    /// The server name that the client asks for; empty where it asks for none.
    pub server_name: &'a str,
    /// The client's certificate; none where the connection is not TLS.
    pub certificate: Option<Certificate<'a>>,
    /// What filters left with the request.
    pub metadata: Option<&'a Metadata>,
    /// The route's metadata; none where there is no route.
    pub route_metadata: Option<&'a Metadata>,
    /// Filter state, as text.
    pub filter_state: Option<&'a BTreeMap<String, String>>,
}

/// The certificate of a client that speaks TLS; without names where it showed none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Certificate<'a> {
    /// Its chain was verified.
    pub verified: bool,
    /// Its URI names.
    pub uris: &'a [String],
    /// Its DNS names.
    pub dns: &'a [String],
    /// Its subject as RFC 2253 text.
    pub subject: &'a str,
}

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

impl Facts<'_> {
    /// Nothing but an address that nobody has.
    pub fn none() -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            method: "",
            scheme: "",
            authority: "",
            path: None,
            headers: &NO_HEADERS,
            destination: SocketAddr::new(nobody, 0),
            source: nobody,
            direct_remote: nobody,
            remote: nobody,
            server_name: "",
            certificate: None,
            metadata: None,
            route_metadata: None,
            filter_state: None,
        }
    }

    /// The path without its query and what follows it; none where there is no path.
    pub fn bare_path(&self) -> Option<&str> {
        let path = self.path?;
        Some(&path[..path.find(['?', '#']).unwrap_or(path.len())])
    }

    pub(crate) fn address(&self, which: ClientAddress) -> IpAddr {
        match which {
            ClientAddress::Connection => self.source,
            ClientAddress::Direct => self.direct_remote,
            ClientAddress::Trusted => self.remote,
        }
    }

    pub(crate) fn metadata_of(&self, source: RbacMetadata) -> Option<&Metadata> {
        match source {
            RbacMetadata::Dynamic => self.metadata,
            RbacMetadata::Route => self.route_metadata,
        }
    }

    /// Whether any value of a header fits; none where there is no such header.
    pub(crate) fn any_value(
        &self,
        name: &MatchedHeader,
        mut fits: impl FnMut(&[u8]) -> bool,
    ) -> Option<bool> {
        let pseudo = match name {
            MatchedHeader::Name(name) => {
                let mut values = self.headers.get_all(name).iter().peekable();
                values.peek()?;
                return Some(values.any(|value| fits(value.as_bytes())));
            }
            MatchedHeader::Authority => self.authority,
            MatchedHeader::Method => self.method,
            MatchedHeader::Scheme => self.scheme,
            MatchedHeader::Path => return Some(fits(self.path?.as_bytes())),
        };
        // a request has them all
        (!pseudo.is_empty()).then(|| fits(pseudo.as_bytes()))
    }

    /// Whether any name of the client's certificate fits; never where it is not TLS.
    pub(crate) fn any_principal(&self, mut fits: impl FnMut(&[u8]) -> bool) -> bool {
        self.certificate.is_some_and(|certificate| {
            let names = certificate.uris.iter().chain(certificate.dns);
            let mut names = names.map(String::as_str).chain([certificate.subject]);
            names.any(|name| fits(name.as_bytes()))
        })
    }
}
