//! Where something listens or is reached: enters from every address-shaped Envoy field.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A network address (`envoy.config.core.v3.Address`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A host name to resolve, and a port; only DNS clusters may carry one.
    Name {
        /// The name to resolve.
        host: String,
        /// The port to connect to.
        port: u16,
    },
    /// A Unix domain socket.
    Pipe(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Pipe(path) => write!(f, "{}", path.display()),
        }
    }
}
