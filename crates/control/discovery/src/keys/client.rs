//! Fetching a key set.
//!
//! In: where it is. Out: its text, or why there is none. The time, the size and the number of
//! redirects are limited; a redirect does not lead to an address that only this network reaches,
//! since whoever runs the issuer must not be able to ask for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use meltemi_jwt::{Failure, KeySet};
use meltemi_model::KeySource;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest document that is read.
const MAXIMUM: usize = 1 << 20;
/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// Where systems keep the roots that they trust, and Istio some more.
const ROOTS: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/cacerts/extra.pem",
];

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The text is no address that could be asked.
    #[error("`{0}` is not an http:// or https:// address")]
    Address(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection.
    #[error("{host}: {reason}")]
    Connect { host: String, reason: String },
    /// The answer was cut off, or too large.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The answer is something else.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The answer leads on and on.
    #[error("more than {REDIRECTS} redirects")]
    Redirects,
    /// The answer leads to where the issuer has no business.
    #[error("the redirect to `{0}` leads to a private address; allow that, or write the address")]
    PrivateRedirect(String),
    /// The answer is no key set, or has no key that can be used.
    #[error("the answer is not a JSON Web Key Set, an object with a key in the list `keys`: {0}")]
    NotKeys(Failure),
    /// The issuer's configuration does not say where the keys are.
    #[error("the OpenID configuration has no `jwks_uri`")]
    NoKeysUri,
}

/// Fetches key sets.
pub(crate) struct KeyClient {
    tls: ArcSwap<ClientConfig>,
    private_redirects: bool,
}

/// What the client trusts: the system's roots and the mesh's.
fn client_tls(mesh_roots: &str) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let bundles = ROOTS.iter().filter_map(|path| std::fs::read(path).ok());
    for pem in bundles.chain([mesh_roots.as_bytes().to_vec()]) {
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl KeyClient {
    pub fn new(mesh_roots: &str, private_redirects: bool) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: ArcSwap::from(client_tls(mesh_roots)?),
            private_redirects,
        })
    }

    /// Trusts these roots of the mesh from now on.
    pub fn trust(&self, mesh_roots: &str) -> Result<(), rustls::Error> {
        self.tls.store(client_tls(mesh_roots)?);
        Ok(())
    }

    /// The key set of an issuer.
    pub async fn fetch(
        &self,
        source: &KeySource,
        timeout: Duration,
    ) -> Result<Arc<str>, FetchError> {
        let fetching = async {
            let address = match source {
                KeySource::Inline(text) => return key_set(text),
                KeySource::None => return Err(FetchError::Address(String::new())),
                KeySource::Uri(uri) => uri.clone(),
                KeySource::Discovery(document) => keys_uri(&self.get(document).await?)?,
            };
            key_set(&self.get(&address).await?)
        };
        tokio::time::timeout(timeout, fetching)
            .await
            .map_err(|_| FetchError::Timeout(timeout))?
    }

    async fn get(&self, address: &str) -> Result<String, FetchError> {
        let mut target = Target::parse(address)?;
        for redirected in 0..=REDIRECTS {
            let found = target.resolve().await?;
            if redirected > 0
                && !self.private_redirects
                && found.iter().any(|it| is_private(it.ip()))
            {
                return Err(FetchError::PrivateRedirect(target.uri.to_string()));
            }
            match self.ask(&target, &found).await? {
                Answer::Text(text) => return Ok(text),
                Answer::Elsewhere(location) => target = target.follow(&location)?,
            }
        }
        Err(FetchError::Redirects)
    }

    async fn ask(&self, target: &Target, found: &[SocketAddr]) -> Result<Answer, FetchError> {
        let stream = TcpStream::connect(found)
            .await
            .map_err(|error| target.failed(error))?;
        if !target.tls {
            return exchange(stream, target).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|it| target.failed(it))?;
        let connector = TlsConnector::from(self.tls.load_full());
        let stream = connector.connect(name, stream).await;
        exchange(stream.map_err(|error| target.failed(error))?, target).await
    }
}

/// What came back.
enum Answer {
    Text(String),
    Elsewhere(String),
}

/// Where to ask.
struct Target {
    uri: Uri,
    tls: bool,
    host: String,
    port: u16,
}

impl Target {
    fn parse(address: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?;
        Ok(Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            uri,
        })
    }

    /// Where a redirect leads to: an address, or a path of this server.
    fn follow(&self, location: &str) -> Result<Self, FetchError> {
        let next = match location.strip_prefix('/') {
            Some(_) if !location.starts_with("//") => {
                let scheme = if self.tls { "https" } else { "http" };
                let authority = self.uri.authority().map_or("", |it| it.as_str());
                Self::parse(&format!("{scheme}://{authority}{location}"))?
            }
            _ => Self::parse(location)?,
        };
        // What was asked for in secret is not asked for in the open.
        if self.tls && !next.tls {
            return Err(FetchError::Address(location.to_owned()));
        }
        Ok(next)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, FetchError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        Ok(found.map_err(|error| self.failed(error))?.collect())
    }

    fn failed(&self, reason: impl ToString) -> FetchError {
        FetchError::Connect {
            host: format!("{}:{}", self.host, self.port),
            reason: reason.to_string(),
        }
    }
}

async fn exchange<S>(stream: S, target: &Target) -> Result<Answer, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unread = |error: &dyn ToString| FetchError::Answer(error.to_string());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| target.failed(error))?;
    let path = target.uri.path_and_query().map_or("/", |it| it.as_str());
    let authority = target.uri.authority().map_or("", |it| it.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "meltemi")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Address(target.uri.to_string()))?;
    let asking = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| target.failed(error))?;
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|it| it.to_str().ok());
            let location = location.ok_or(FetchError::Status(status))?;
            return Ok(Answer::Elsewhere(location.to_owned()));
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        let body = Limited::new(response.into_body(), MAXIMUM).collect().await;
        let body = body.map_err(|error| unread(&error))?.to_bytes();
        let text = String::from_utf8(body.to_vec()).map_err(|error| unread(&error))?;
        Ok(Answer::Text(text))
    };
    tokio::pin!(asking, connection);
    tokio::select! {
        answer = &mut asking => answer,
        // The connection is done when everything was read; what was read is still to be had.
        _ended = &mut connection => asking.await,
    }
}

fn keys_uri(document: &str) -> Result<String, FetchError> {
    let document: serde_json::Value =
        serde_json::from_str(document).map_err(|_| FetchError::NoKeysUri)?;
    let uri = document["jwks_uri"].as_str();
    uri.map(str::to_owned).ok_or(FetchError::NoKeysUri)
}

/// The text, if it is a key set. One without a key that can be used is none: a proxy would refuse it, and
/// with it all that comes along.
fn key_set(text: &str) -> Result<Arc<str>, FetchError> {
    let parsed = KeySet::parse(text.as_bytes());
    parsed.map(|_| text.into()).map_err(FetchError::NotKeys)
}

/// Whether only this machine or this network reaches an address.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
                || first == 0
                || shared
        }
        // An address of IPv4 that is reached by way of IPv6: NAT64 and 6to4.
        IpAddr::V6(ip) if embedded(ip).is_some_and(|it| is_private(it.into())) => true,
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
        }
    }
}

/// The address of IPv4 in one of IPv6 that leads there.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let part = |first: u16, second: u16| {
        let [a, b] = first.to_be_bytes();
        let [c, d] = second.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, first, second] => part(first, second),
        [0x2002, first, second, ..] => part(first, second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn redirects_stay_on_their_side() {
        let from = Target::parse("https://issuer.example/keys").unwrap();
        let to = |location| from.follow(location).map(|it| it.uri.to_string());
        assert_eq!(to("/other").unwrap(), "https://issuer.example/other");
        assert_eq!(
            to("https://cdn.example/k").unwrap(),
            "https://cdn.example/k"
        );
        assert!(to("http://issuer.example/keys").is_err(), "in the open");
        assert!(to("//other.example/keys").is_err());
        assert!(to("file:///etc/passwd").is_err());
    }

    #[test]
    fn private_addresses() {
        for (ip, private) in [
            ("10.1.2.3", true),
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("100.64.0.1", true),
            ("0.0.0.0", true),
            ("::1", true),
            ("fd00::1", true),
            ("64:ff9b::7f00:1", true),
            ("64:ff9b::808:808", false),
            ("2002:a00:1::", true),
            ("fe80::1", true),
            ("::ffff:192.168.1.1", true),
            ("8.8.8.8", false),
            ("2001:4860:4860::8888", false),
        ] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }
}
