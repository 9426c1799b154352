//! Sockets as configurations have them: where connections come from, and the system's options
//! (`BindConfig`, `SocketOption`).

use std::net::SocketAddr;

/// Where connections to upstreams come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindConfig {
    /// The addresses, of which the first of the destination's family is taken; with options that
    /// take the place of the others.
    pub sources: Vec<(SocketAddr, Option<Vec<SocketOption>>)>,
    /// The addresses need not be of this machine (`IP_FREEBIND`); none leaves that as it is.
    pub freebind: Option<bool>,
    /// Options of each socket.
    pub options: Vec<SocketOption>,
}

/// An option of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// The system's number of the level.
    pub level: i64,
    /// The system's number of the option.
    pub name: i64,
    /// Its value.
    pub value: SocketValue,
    /// When it is set.
    pub state: SocketState,
    /// Only on sockets of IPv4 (true) or of IPv6 (false).
    pub only_v4: Option<bool>,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketValue {
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// When an option is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketState {
    /// Before the socket is bound.
    #[default]
    Prebind,
    /// Once it is.
    Bound,
    /// Once it listens.
    Listening,
}
