//! The sockets of the DNS proxy.
//!
//! In: messages over UDP and TCP. Out: answers from the table, or those of the system's servers. Before
//! there is a table nothing is answered, as nobody knows yet which names are the mesh's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::resolver::{read_message, write_message};
use crate::{Home, Names, Query, QueryError, Resolver, Table};

/// How many questions may wait for an answer; more are not read.
const WAITING: usize = 1024;
/// How many connections may be open.
const CONNECTIONS: usize = 128;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long to wait when the system refuses a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How many ports are tried where any will do.
const PORTS: u32 = 16;
/// The longest message that is a question.
const LONGEST: usize = 4096;
/// The longest answer over TCP.
const TCP_LIMIT: usize = 65_535;

/// A DNS proxy that listens.
pub struct DnsProxy {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    table: ArcSwapOption<Table>,
    home: Home,
    resolver: Resolver,
    turn: AtomicUsize,
}

/// Over what a question came.
#[derive(Clone, Copy)]
enum Over {
    Udp,
    Tcp,
}

impl DnsProxy {
    /// Listens at `address`, over UDP and TCP. What the table does not have, `resolver`'s servers are
    /// asked for.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr, home: Home, resolver: Resolver) -> io::Result<Self> {
        let (udp, tcp) = bind_both(address).await?;
        let address = udp.local_addr()?;
        let shared = Shared {
            table: ArcSwapOption::empty(),
            home,
            resolver: resolver.without(address),
            turn: AtomicUsize::new(0),
        };
        Ok(Self {
            udp: Arc::new(udp),
            tcp,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Takes names: what is asked from now on is answered from them.
    pub fn updates(&self) -> impl Fn(&Names) + Send + Sync + use<> {
        let shared = Arc::clone(&self.shared);
        move |names| {
            let table = Table::new(names, &shared.home);
            debug!(names = table.len(), "names taken");
            shared.table.store(Some(Arc::new(table)));
        }
    }

    /// Serves for ever.
    pub async fn serve(self) {
        let Self { udp, tcp, shared } = self;
        tokio::join!(serve_udp(udp, Arc::clone(&shared)), serve_tcp(tcp, shared));
    }
}

/// Both sockets, at one port.
async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut left = PORTS;
    loop {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            // a port that the system chose for one of them, and had given away for the other
            Err(_) if address.port() == 0 && left > 0 => left -= 1,
            Err(error) => return Err(error),
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut buffer = vec![0; LONGEST];
    loop {
        let Ok(permit) = Arc::clone(&waiting).acquire_owned().await else {
            return;
        };
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An answer of before did not arrive; that says nothing about the next question.
            Err(error) => {
                debug!("no DNS question: {error}");
                continue;
            }
        };
        let message = buffer[..length].to_vec();
        let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
        tokio::spawn(async move {
            if let Some(answer) = shared.answer(&message, Over::Udp).await
                && let Err(error) = socket.send_to(&answer, from).await
            {
                debug!(%from, "a DNS answer was not sent: {error}");
            }
            drop(permit);
        });
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("no DNS connection: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _ = converse(stream, &shared).await; // It ends as it ends.
            drop(permit);
        });
    }
}

/// One connection, until its client has nothing more to ask.
async fn converse(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    while let Ok(message) = timeout(SILENCE, read_message(&mut stream)).await {
        let Some(answer) = shared.answer(&message?, Over::Tcp).await else {
            return Ok(());
        };
        write_message(&mut stream, &answer).await?;
    }
    Ok(())
}

impl Shared {
    /// The answer to a message; `None` to what is none.
    async fn answer(&self, message: &[u8], over: Over) -> Option<Vec<u8>> {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(QueryError::Malformed) => return None,
            Err(QueryError::Foreign) => return self.pass_on(message, over).await,
        };
        let limit = match over {
            Over::Udp => query.limit,
            Over::Tcp => TCP_LIMIT,
        };
        let answer = match self.table.load().as_deref() {
            None => return Some(query.failure()),
            Some(table) if query.is_for_addresses() => table.find(&query.name).map(|found| {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                query.answer(&found, turn, limit)
            }),
            Some(_) => None,
        };
        match answer {
            Some(answer) => Some(answer),
            None => Some(
                self.pass_on(message, over)
                    .await
                    .unwrap_or_else(|| query.failure()),
            ),
        }
    }

    async fn pass_on(&self, message: &[u8], over: Over) -> Option<Vec<u8>> {
        match over {
            Over::Udp => self.resolver.over_udp(message).await,
            Over::Tcp => self.resolver.over_tcp(message).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::Name;

    /// A question for the IPv4 addresses of a name.
    fn ask(id: u8, name: &str) -> Vec<u8> {
        let mut message = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).expect("a label"));
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        message
    }

    async fn over_udp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
        let resolver = Resolver {
            servers: vec![server],
            search: Vec::new(),
        };
        resolver.over_udp(message).await.expect("an answer")
    }

    #[tokio::test]
    async fn names_of_the_table_are_answered_and_the_rest_is_passed_on() {
        // The system's server answers everything with the question and one byte more.
        let upstream = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server = upstream.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = upstream.recv_from(&mut buffer).await {
                let answer = [&buffer[..length], &[99]].concat();
                upstream.send_to(&answer, from).await.expect("it is sent");
            }
        });
        let resolver = Resolver {
            servers: vec![server],
            search: Vec::new(),
        };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let proxy = DnsProxy::bind(any, Home::default(), resolver).await;
        let proxy = proxy.expect("it listens");
        let (address, update) = (proxy.address().expect("an address"), proxy.updates());
        tokio::spawn(proxy.serve());

        let failed = over_udp(address, &ask(1, "web.shop")).await;
        assert_eq!(failed[3] & 15, 2, "nothing is known yet");

        let name = Name {
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
            service: None,
        };
        update(&Names::from([("web.shop".to_owned(), name)]));
        let answer = over_udp(address, &ask(2, "web.shop")).await;
        assert!(answer.ends_with(&[10, 0, 0, 1]));
        let foreign = ask(3, "example.org");
        let passed = over_udp(address, &foreign).await;
        assert_eq!(passed, [&foreign[..], &[99]].concat());

        let mut stream = TcpStream::connect(address).await.expect("a connection");
        for id in [4, 5] {
            write_message(&mut stream, &ask(id, "web.shop"))
                .await
                .expect("sent");
            let answer = read_message(&mut stream).await.expect("an answer");
            assert!(answer[1] == id && answer.ends_with(&[10, 0, 0, 1]));
        }
    }
}
