//! Gateways' ports on an address that people use.
//!
//! In: the ports that gateways serve. Out: for each a socket on the published address whose
//! connections are handed, byte for byte, to a gateway pod. A client on a loopback address of its own
//! is seen by the gateway under that address; all others of this machine are 127.0.0.1 to it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::platform::GatewayPort;
use crate::report::{Published, Report, Reporter};

/// The ports that people expect for a gateway's privileged ones.
const UNPRIVILEGED: u16 = 8000;
const HTTP: u16 = 80;
const HTTP_PUBLISHED: u16 = 8080;

/// How long a connection waits for a gateway that is just starting.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);

/// The published ports.
#[derive(Debug)]
pub(crate) struct Publisher {
    address: IpAddr,
    /// The port in the place of a gateway's port 80.
    first_port: u16,
    ports: BTreeMap<(String, u16), Port>,
    reporter: Reporter,
}

/// A port that cannot be published.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot publish port {port} of {service} on {address}: {source}; choose other ports with --gateway-port, or another address with --publish"
)]
pub struct PublishError {
    service: String,
    port: u16,
    address: SocketAddr,
    source: io::Error,
}

#[derive(Debug)]
struct Port {
    published: Published,
    backends: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Publisher {
    pub(crate) fn new(address: IpAddr, first_port: u16, reporter: Reporter) -> Self {
        Self {
            address,
            first_port,
            ports: BTreeMap::new(),
            reporter,
        }
    }

    /// Publishes these ports and no others. The first error is returned when all have been tried.
    pub(crate) async fn set(&mut self, wanted: Vec<GatewayPort>) -> Result<(), PublishError> {
        let is_wanted = |key: &(String, u16)| {
            wanted
                .iter()
                .any(|it| (&it.service, it.port) == (&key.0, key.1))
        };
        let gone: Vec<_> = self
            .ports
            .keys()
            .filter(|it| !is_wanted(it))
            .cloned()
            .collect();
        for key in gone {
            if let Some(port) = self.ports.remove(&key) {
                self.reporter
                    .tell(Report::Unpublished(port.published.clone()));
            }
        }
        let mut first_error = Ok(());
        for port in wanted {
            let key = (port.service.clone(), port.port);
            match self.ports.get_mut(&key) {
                Some(known) => {
                    known.published.tls = port.tls;
                    known.backends.send_replace(port.backends);
                }
                None => {
                    let added = self.add(port).await;
                    first_error = first_error.and(added);
                }
            }
        }
        first_error
    }

    /// What is published, the lowest port first.
    pub(crate) fn published(&self) -> Vec<Published> {
        let mut all: Vec<_> = self.ports.values().map(|it| it.published.clone()).collect();
        all.sort_by_key(|it| it.address);
        all
    }

    async fn add(&mut self, port: GatewayPort) -> Result<(), PublishError> {
        let GatewayPort {
            service,
            port,
            tls,
            backends,
        } = port;
        let address = SocketAddr::new(self.address, self.free_port(port));
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| PublishError {
            service: service.clone(),
            port,
            address,
            source,
        })?;
        let (backends, receiver) = watch::channel(backends);
        let published = Published {
            address,
            service: service.clone(),
            port,
            tls,
        };
        self.reporter.tell(Report::Published(published.clone()));
        let task = tokio::spawn(serve(listener, receiver));
        let port_entry = Port {
            published,
            backends,
            task,
        };
        self.ports.insert((service, port), port_entry);
        Ok(())
    }

    /// Port 80 becomes the first port, 443 the one as far above it as 8443 is above 8080, and so on;
    /// the next free one where another gateway has that already.
    fn free_port(&self, port: u16) -> u16 {
        let usual = match port {
            HTTP => HTTP_PUBLISHED,
            443 => 8443,
            low if low < 1024 => low + UNPRIVILEGED,
            high => high,
        };
        let shift = i32::from(self.first_port) - i32::from(HTTP_PUBLISHED);
        let shifted = u16::try_from(i32::from(usual) + shift).unwrap_or(usual);
        let taken = |candidate: &u16| {
            let mut ports = self.ports.values();
            ports.any(|it| it.published.address.port() == *candidate)
        };
        let mut candidates = shifted..=u16::MAX;
        candidates.find(|it| !taken(it)).unwrap_or(shifted)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, backends: watch::Receiver<Vec<SocketAddr>>) {
    let turn = AtomicUsize::new(0);
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(forward(client, peer, turn, backends.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(RETRY).await;
            }
        }
    }
}

async fn forward(
    mut client: TcpStream,
    peer: SocketAddr,
    turn: usize,
    backends: watch::Receiver<Vec<SocketAddr>>,
) {
    let connecting = connect_any(peer.ip(), turn, backends);
    let mut gateway = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(gateway) => gateway,
        Err(_) => {
            tracing::warn!(%peer, "no gateway takes the connection");
            return;
        }
    };
    // ignored: both only fail on a connection that is gone already
    let _ = client.set_nodelay(true);
    let _ = gateway.set_nodelay(true);
    // ignored: whoever broke the connection knows, the other side sees it closed
    let _ = copy_bidirectional(&mut client, &mut gateway).await;
}

/// Connects to the gateway whose turn it is, or the next that answers.
async fn connect_any(
    client: IpAddr,
    turn: usize,
    backends: watch::Receiver<Vec<SocketAddr>>,
) -> TcpStream {
    loop {
        let all = backends.borrow().clone();
        for nth in 0..all.len() {
            let backend = all[(turn + nth) % all.len()];
            if let Ok(stream) = connect(client, backend).await {
                return stream;
            }
        }
        sleep(RETRY).await;
    }
}

async fn connect(client: IpAddr, backend: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if client.is_loopback() && client.is_ipv4() && client != Ipv4Addr::LOCALHOST {
        socket.bind(SocketAddr::new(client, 0))?;
    }
    socket.connect(backend).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use meltemi_testkit::{Client, Reply, Request, Upstream, free_port};

    use super::{GatewayPort, Publisher, Reporter};

    #[tokio::test]
    async fn ports_come_and_go() {
        let gateway = Upstream::start();
        gateway.on("/", Reply::ok().body("from the gateway"));
        let first = free_port();
        let reporter = Reporter::new(|_| {});
        let mut publisher = Publisher::new(Ipv4Addr::LOCALHOST.into(), first, reporter);
        let port = |number, backends| GatewayPort {
            service: "gateway.istio-system".to_owned(),
            port: number,
            tls: false,
            backends,
        };
        publisher
            .set(vec![port(80, vec![gateway.address()])])
            .await
            .unwrap();
        let published = publisher.published();
        assert_eq!(published[0].address.port(), first);
        let client = Client::new(published[0].address);
        let answer = client.send(&Request::get("/")).await.unwrap();
        assert_eq!(answer.text(), "from the gateway");
        publisher.set(Vec::new()).await.unwrap();
        assert!(publisher.published().is_empty());
    }

    #[test]
    fn ports_are_shifted_together() {
        let reporter = Reporter::new(|_| {});
        let publisher = Publisher::new(Ipv4Addr::LOCALHOST.into(), 18080, reporter);
        let cases = [
            (80, 18080),
            (443, 18443),
            (31400, 41400),
            (15021, 25021),
            (22, 18022),
        ];
        for (port, expected) in cases {
            assert_eq!(publisher.free_port(port), expected, "{port}");
        }
    }
}
