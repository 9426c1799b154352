//! Streams that are held open while something changes, and what they are held against.
//!
//! In: an address that a proxy listens on. Out: for each stream, how much went through in order, or
//! how it was cut. Called by tests of changes under traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use meltemi_testkit::{RawClient, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The pace of every stream.
const PACE: Duration = Duration::from_millis(3);

/// How long the rest of a stream may take once it is asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The length of a numbered line.
const LINE: usize = 8;

/// A stream that is open.
pub struct Held {
    name: &'static str,
    task: JoinHandle<Result<usize, String>>,
}

/// Ends the streams that were started with it.
pub struct Ending {
    sender: watch::Sender<bool>,
}

impl Ending {
    /// Streams go on.
    pub fn new() -> Self {
        Self {
            sender: watch::Sender::new(false),
        }
    }

    /// Sees whether to end.
    pub fn receiver(&self) -> watch::Receiver<bool> {
        self.sender.subscribe()
    }

    /// Asks for the end.
    pub fn end(&self) {
        self.sender.send_replace(true);
    }
}

impl Held {
    /// Bytes both ways on a TCP connection to a server that sends back what it gets, after its own
    /// first line.
    pub async fn tcp(address: SocketAddr, ending: &Ending) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut greeting = [0; LINE];
        stream.read_exact(&mut greeting).await.unwrap();
        let ending = ending.receiver();
        Self {
            name: "TCP",
            task: tokio::spawn(echo(stream, ending)),
        }
    }

    /// Bytes both ways on a connection that was upgraded.
    pub async fn web_socket(address: SocketAddr, path: &str, ending: &Ending) -> Self {
        let mut client = RawClient::connect(address).await.unwrap();
        let request = Request::get(path)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let response = client.exchange(&request).await.unwrap();
        assert_eq!(response.status, 101, "{}", response.text());
        let (stream, early) = client.into_parts();
        assert!(early.is_empty(), "the peer only answers");
        let ending = ending.receiver();
        Self {
            name: "WebSocket",
            task: tokio::spawn(echo(stream, ending)),
        }
    }

    /// A response that goes on until its server is asked to end.
    pub async fn download(address: SocketAddr, path: &str) -> Self {
        let mut client = RawClient::connect(address).await.unwrap();
        client.send(&Request::get(path)).await.unwrap();
        let head = client.read_head().await.unwrap();
        assert_eq!(head.status, 200);
        Self {
            name: "download",
            task: tokio::spawn(async move {
                let mut body = Vec::new();
                while !body.ends_with(b"0\r\n\r\n") {
                    let bytes = client
                        .read_some()
                        .await
                        .map_err(|error| error.to_string())?;
                    if bytes.is_empty() {
                        return Err(format!("cut after {} bytes", body.len()));
                    }
                    body.extend_from_slice(&bytes);
                }
                numbered(&without_chunks(&body)?)
            }),
        }
    }

    /// A response over HTTP/2 that goes on until its server is asked to end.
    pub async fn download_http2(address: SocketAddr, path: &str) -> Self {
        let client = meltemi_testkit::Http2Client::connect(address)
            .await
            .unwrap();
        let request = Request::get(path);
        Self {
            name: "download over HTTP/2",
            task: tokio::spawn(async move {
                let response = client
                    .send(&request)
                    .await
                    .map_err(|error| error.to_string())?;
                if response.status != 200 {
                    return Err(format!("status {}", response.status));
                }
                numbered(&response.body)
            }),
        }
    }

    /// Sees that it is still open.
    pub fn assert_open(&self, when: &str) {
        assert!(!self.task.is_finished(), "the {} was cut {when}", self.name);
    }

    /// How many lines went through, once it has ended as it should.
    pub async fn finish(self) -> usize {
        let Self { name, task } = self;
        let done = tokio::time::timeout(PATIENCE, task).await;
        let result = done
            .unwrap_or_else(|_| panic!("the {name} does not end"))
            .unwrap();
        result.unwrap_or_else(|error| panic!("the {name}: {error}"))
    }
}

/// Sends numbered lines at a steady pace until asked to end, and sees each come back in order.
async fn echo(stream: TcpStream, mut ending: watch::Receiver<bool>) -> Result<usize, String> {
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        let mut number = 0;
        while !*ending.borrow_and_update() {
            let sent = writer.write_all(line(number).as_bytes()).await;
            sent.map_err(|error| format!("sending line {number}: {error}"))?;
            number += 1;
            tokio::time::sleep(PACE).await;
        }
        // the writer goes back: dropping it would end the stream before all is back
        Ok::<_, String>((number, writer))
    });
    let mut sending = Some(sending);
    let mut total = usize::MAX;
    let mut received = 0;
    let mut kept = None;
    while received < total {
        let mut next = [0; LINE];
        tokio::select! {
            read = reader.read_exact(&mut next) => {
                read.map_err(|error| format!("reading line {received}: {error}"))?;
                if next != line(received).as_bytes() {
                    let got = String::from_utf8_lossy(&next).into_owned();
                    return Err(format!("line {received} is {got:?}"));
                }
                received += 1;
            }
            sent = async { sending.as_mut().expect("guarded").await }, if sending.is_some() => {
                let (number, writer) = sent.map_err(|error| error.to_string())??;
                sending = None;
                total = number;
                kept = Some(writer);
            }
        }
    }
    drop(kept);
    Ok(received)
}

/// A server of numbered lines: over HTTP until asked to end, where a request asks for a `download`;
/// whatever comes after an upgrade is sent back.
pub async fn stream_server(ending: &Ending) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ending = ending.receiver();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_http(stream, ending.clone()));
        }
    });
    address
}

/// A server that sends its name, padded to a line, and then whatever it gets.
pub async fn echo_server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(format!("{name:LINE$}").as_bytes()).await?;
                send_back(&mut stream).await
            });
        }
    });
    address
}

/// The name of the echo server that a new connection reaches.
pub async fn echo_name(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut name = [0; LINE];
    stream.read_exact(&mut name).await?;
    Ok(String::from_utf8_lossy(&name).trim().to_owned())
}

async fn serve_http(
    mut stream: TcpStream,
    mut ending: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    if head.contains("upgrade: websocket") {
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
        return send_back(&mut stream).await;
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let mut number = 0;
    while !*ending.borrow_and_update() {
        let chunk = format!("{LINE:x}\r\n{}\r\n", line(number));
        stream.write_all(chunk.as_bytes()).await?;
        number += 1;
        tokio::time::sleep(PACE).await;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    stream.shutdown().await
}

async fn send_back(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await.map(drop)
}

fn line(number: usize) -> String {
    format!("{number:07}\n")
}

/// How many lines there are, each of which must be the next.
fn numbered(body: &[u8]) -> Result<usize, String> {
    let lines = body.chunks(LINE);
    let count = lines.len();
    for (number, got) in lines.enumerate() {
        if got != line(number).as_bytes() {
            return Err(format!(
                "line {number} is {:?}",
                String::from_utf8_lossy(got)
            ));
        }
    }
    Ok(count)
}

fn without_chunks(mut framed: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let end = framed
            .windows(2)
            .position(|it| it == b"\r\n")
            .ok_or("no chunk size")?;
        let size = std::str::from_utf8(&framed[..end]).map_err(|error| error.to_string())?;
        let size = usize::from_str_radix(size, 16).map_err(|error| format!("{size:?}: {error}"))?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = framed.get(end + 2..end + 2 + size).ok_or("a short chunk")?;
        body.extend_from_slice(chunk);
        framed = &framed[end + 4 + size..];
    }
}
