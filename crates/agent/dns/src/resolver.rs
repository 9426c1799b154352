//! The system's servers.
//!
//! In: `resolv.conf`, then messages as they came. Out: the servers' answers as they are. Called by
//! `server` for what is not of the mesh.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tracing::debug;

/// How long a server may take to answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The port of servers.
const PORT: u16 = 53;
/// The longest message.
const LONGEST: usize = 65_535;

/// The system's servers, and what its resolver puts behind a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// In the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// `search`.
    pub search: Vec<String>,
}

impl Resolver {
    /// Reads a `resolv.conf`; lines that are not understood are passed over, as the system does.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => {
                    // A scope is of the system's interfaces: such a server is not asked from here.
                    let server = address.parse::<IpAddr>().ok();
                    let server = server.map(|it| SocketAddr::new(it, PORT));
                    resolver.servers.extend(server);
                }
                (Some("search" | "domain"), Some(first)) => {
                    let all = std::iter::once(first).chain(words);
                    let all = all.map(|it| it.trim_end_matches('.').to_owned());
                    resolver.search = all.filter(|it| !it.is_empty()).collect();
                }
                _ => {}
            }
        }
        resolver
    }

    /// The same without this server, which is the one that asks.
    #[must_use]
    pub fn without(mut self, server: SocketAddr) -> Self {
        self.servers.retain(|it| *it != server);
        self
    }

    /// Passes a message on over UDP; the first answer.
    pub(crate) async fn over_udp(&self, message: &[u8]) -> Option<Vec<u8>> {
        for server in &self.servers {
            match timeout(LIMIT, ask_udp(*server, message)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => debug!(%server, "a DNS server does not answer: {error}"),
                Err(_) => debug!(%server, "a DNS server does not answer in time"),
            }
        }
        None
    }

    /// The same over TCP.
    pub(crate) async fn over_tcp(&self, message: &[u8]) -> Option<Vec<u8>> {
        for server in &self.servers {
            match timeout(LIMIT, ask_tcp(*server, message)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => debug!(%server, "a DNS server does not answer: {error}"),
                Err(_) => debug!(%server, "a DNS server does not answer in time"),
            }
        }
        None
    }
}

async fn ask_udp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A socket for each question: its port is one more thing that a forger would have to guess.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut answer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 2 && answer[..2] == message[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, message).await?;
    read_message(&mut stream).await
}

/// A message behind its length, as it stands in a stream.
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// The same the other way.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(message);
    stream.write_all(&whole).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_domains_are_read() {
        let text = "# comment\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver ::1\n\
                    search shop.svc.cluster.local svc.cluster.local. \noptions ndots:5\n";
        let resolver = Resolver::parse(text);
        let servers: Vec<_> = resolver.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.96.0.10:53", "[::1]:53"]);
        assert_eq!(
            resolver.search,
            ["shop.svc.cluster.local", "svc.cluster.local"]
        );
        let own = resolver.servers[0];
        assert_eq!(resolver.without(own).servers.len(), 1);
    }
}
