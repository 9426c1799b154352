//! The sockets that a control plane listens on.
//!
//! In: [`Options`]. Out: every socket, bound before anything is served.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::Addresses;
use crate::{DiscoveryError, Options};

/// How many connections may wait to be accepted; the system's own limit applies as well.
const BACKLOG: u32 = 4096;

/// The sockets that a control plane listens on.
pub(super) struct Sockets {
    pub http: TcpListener,
    pub monitoring: TcpListener,
    pub plaintext: Option<TcpListener>,
    pub secure: TcpListener,
    pub webhooks: Option<TcpListener>,
}

impl Sockets {
    pub fn bind(options: &Options) -> Result<Self, DiscoveryError> {
        let plaintext = options.plaintext_xds;
        let exposed = plaintext.filter(|address| !address.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| !options.expose_plaintext_xds) {
            return Err(DiscoveryError::Exposed(address));
        }
        Ok(Self {
            http: bind(options.http, "HTTP")?,
            monitoring: bind(options.monitoring, "monitoring")?,
            plaintext: match plaintext {
                Some(address) => Some(bind(address, "plaintext xDS")?),
                None => None,
            },
            secure: bind(options.secure_xds, "secure xDS")?,
            webhooks: match options.webhooks {
                Some(address) => Some(bind(address, "webhooks")?),
                None => None,
            },
        })
    }

    pub fn addresses(&self) -> Result<Addresses, DiscoveryError> {
        let of = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(|error| DiscoveryError::Listen {
                    address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                    purpose: "a socket that is there",
                    error,
                })
        };
        Ok(Addresses {
            http: of(&self.http)?,
            monitoring: of(&self.monitoring)?,
            plaintext_xds: self.plaintext.as_ref().map(of).transpose()?,
            secure_xds: of(&self.secure)?,
            webhooks: self.webhooks.as_ref().map(of).transpose()?,
        })
    }
}

/// Thousands of proxies come at once when a control plane starts again.
fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, DiscoveryError> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| DiscoveryError::Listen {
        address,
        purpose,
        error,
    })
}
