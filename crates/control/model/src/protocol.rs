//! The protocol of a service port.
//!
//! In: `appProtocol`, port names, transport protocol (FEATURES T16). Out: [`Protocol`].

use std::fmt;

/// Ports of SMTP, DNS, MySQL and MongoDB, whose servers speak first or answer to no sniffing: there an
/// unknown protocol is bytes.
const WELL_KNOWN: [u16; 4] = [25, 53, 3306, 27017];

/// What is spoken on a service port, as far as the mesh distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 in plain text.
    Http2,
    /// HTTP in TLS that the mesh does not open.
    Https,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// MongoDB, opaque TCP here.
    Mongo,
    /// MySQL, opaque TCP here.
    Mysql,
    /// Redis, opaque TCP here.
    Redis,
    /// Opaque TCP.
    Tcp,
    /// TLS that the mesh does not open.
    Tls,
    /// UDP, which the mesh leaves alone.
    Udp,
    /// Nothing said: the proxy looks at the first bytes.
    Auto,
}

impl Protocol {
    /// The protocol of a name such as `http`, `grpc-web`, `HTTP2` (any case); `None` if unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "https" => Self::Https,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "mongo" => Self::Mongo,
            "mysql" => Self::Mysql,
            "redis" => Self::Redis,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "udp" => Self::Udp,
            _ => return None,
        };
        Some(known)
    }

    /// The protocol of a Kubernetes service port: UDP if the transport is; else `appProtocol`
    /// (Kubernetes' own `kubernetes.io/h2c`, `kubernetes.io/ws`, `kubernetes.io/wss` included), else
    /// the port name up to its first dash (`grpc-web` as a whole), else [`Protocol::Tcp`] on ports of
    /// well-known protocols whose servers speak first, else [`Protocol::Auto`].
    pub fn of_port(number: u16, name: &str, app_protocol: Option<&str>, udp: bool) -> Self {
        if udp {
            return Self::Udp;
        }
        let named = match app_protocol {
            Some("kubernetes.io/h2c") => Some(Self::Http2),
            Some("kubernetes.io/ws") => Some(Self::Http),
            Some("kubernetes.io/wss") => Some(Self::Https),
            Some(text) => Self::from_name(text),
            None => Self::of_name(name),
        };
        match named {
            Some(protocol) => protocol,
            None if WELL_KNOWN.contains(&number) => Self::Tcp,
            None => Self::Auto,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Self::from_name(lower.split('-').next().unwrap_or(&lower))
    }

    /// Whether requests on the port are HTTP requests that the mesh reads.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether an upstream connection on the port speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Whether the mesh forwards bytes and looks no further (TLS included).
    pub fn is_tcp(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Tls | Self::Https | Self::Mongo | Self::Mysql | Self::Redis
        )
    }

    /// Whether the bytes are TLS of the application's own.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Https => "HTTPS",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-Web",
            Self::Mongo => "Mongo",
            Self::Mysql => "MySQL",
            Self::Redis => "Redis",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::Auto => "UnsupportedProtocol",
        })
    }
}
