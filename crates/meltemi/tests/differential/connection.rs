//! A client's connection: HTTP/1, HTTP/2 or bytes, with or without TLS.
//!
//! In: how a case wants it, where to. Out: responses, bytes, and how it stands in the end. Called
//! by `run`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meltemi_testkit::{ClientError, Http2Client, Pki, RawClient, Response, Speaking, free_port};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion,
};

use crate::case::{Case, ClientTls, Protocol, Sent};
use crate::frames;
use crate::observation::{Observation, shown};

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing may come before a step that reads bytes gives up.
const QUIET: Duration = Duration::from_millis(1500);

/// Bytes both ways, whatever carries them.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to one of the programs.
pub struct Connection {
    speaks: Speaks,
    /// What is read are frames.
    framed: bool,
    socket: Arc<std::net::TcpStream>,
    /// What the handshake agreed on, where the case wants to know.
    pub agreed: Option<String>,
}

/// The TLS of a case's client.
pub fn client_config(tls: &ClientTls, pki: &Pki) -> Arc<ClientConfig> {
    let alpn: Vec<_> = tls.alpn.iter().map(String::as_str).collect();
    let versions: &[&'static SupportedProtocolVersion] = match tls.version.as_deref() {
        None => &[],
        Some("1.2") => &[&TLS12],
        Some(_) => &[&TLS13],
    };
    pki.client_speaking(Speaking {
        certificate: tls.certificate.as_deref(),
        alpn: &alpn,
        versions,
        trusting: tls.trusting,
    })
}

/// What a handshake agreed on.
fn described(connection: &ClientConnection) -> String {
    let version = connection.protocol_version();
    let alpn = connection.alpn_protocol().map(String::from_utf8_lossy);
    let certificate = connection.peer_certificates().unwrap_or_default().first();
    let names = certificate.and_then(|leaf| meltemi_tls::CertificateInfo::read(leaf));
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    format!(
        "TLS: {version:?} alpn={alpn:?} certificate={:?} resumed={resumed}",
        names.map(|names| names.subject),
    )
}

enum Speaks {
    Http1(Box<RawClient<Box<dyn Stream>>>),
    Http2(Http2Client),
}

impl Connection {
    /// Opens a connection as a case wants it; the address is the client's own.
    pub async fn open(
        case: &Case,
        config: Option<Arc<ClientConfig>>,
        listener: SocketAddr,
    ) -> (SocketAddr, Result<Self, String>) {
        let listener = SocketAddr::new(case.to.unwrap_or(listener.ip()), listener.port());
        let socket = TcpSocket::new_v4().unwrap();
        // a port that no other case has, so that lines of the access log find their case
        let from = case.from.unwrap_or(Ipv4Addr::LOCALHOST.into());
        // also where a connection of another run has just ended
        socket.set_reuseaddr(true).unwrap();
        socket.bind((from, free_port()).into()).unwrap();
        let stream = match socket.connect(listener).await {
            Ok(stream) => stream,
            Err(error) => return (listener, Err(format!("refused ({error})"))),
        };
        let own = stream.local_addr().unwrap_or(listener);
        let opening = tokio::time::timeout(PATIENCE, Self::begin(stream, case, config, listener));
        let opened = opening
            .await
            .unwrap_or_else(|_| Err("nothing in time".to_owned()));
        (own, opened)
    }

    async fn begin(
        mut stream: TcpStream,
        case: &Case,
        config: Option<Arc<ClientConfig>>,
        listener: SocketAddr,
    ) -> Result<Self, String> {
        stream.set_nodelay(true).unwrap();
        let socket = Arc::new(duplicate(&stream));
        let first = case.first_bytes();
        // ignored: what follows sees it
        let _ = stream.write_all(&first).await;
        let mut http2 = case.protocol == Protocol::Http2;
        let mut agreed = None;
        let stream: Box<dyn Stream> = match case.tls.as_ref().zip(config) {
            None => Box::new(stream),
            Some((tls, config)) => {
                let name = ServerName::try_from(tls.sni.clone()).unwrap();
                let connecting = TlsConnector::from(config).connect(name, stream);
                let stream = connecting.await.map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => "TLS: closed".to_owned(),
                    std::io::ErrorKind::ConnectionReset => "TLS: reset".to_owned(),
                    _ => format!("TLS: {error}"),
                })?;
                agreed = tls.report.then(|| described(stream.get_ref().1));
                http2 |= stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::new(stream)
            }
        };
        let framed = case.protocol == Protocol::Frames;
        let speaks = if http2 && !framed {
            let client = Http2Client::over(stream, listener).await;
            Speaks::Http2(client.map_err(|error| error.to_string())?)
        } else {
            Speaks::Http1(Box::new(RawClient::over(stream, listener)))
        };
        Ok(Self {
            speaks,
            framed,
            socket,
            agreed,
        })
    }

    /// Sends a request and reads what is answered.
    pub async fn exchange(&mut self, sent: &Sent, observation: &mut Observation) -> u16 {
        let mut status = 0;
        for number in 0..sent.responses {
            let response = match tokio::time::timeout(PATIENCE, self.response(sent, number)).await {
                Ok(response) => response,
                Err(_) => {
                    observation.say("response: none in time");
                    return 0;
                }
            };
            observation.response(&response);
            status = response.map_or(0, |response| response.status);
        }
        status
    }

    async fn response(&mut self, sent: &Sent, number: usize) -> Result<Response, ClientError> {
        match (&mut self.speaks, sent.request()) {
            (Speaks::Http1(client), Some(request)) => {
                if number == 0 {
                    client.send(&request).await?;
                }
                client.read_response(&request.method).await
            }
            (Speaks::Http1(client), None) => {
                let raw = sent.raw.as_deref().unwrap_or_default();
                if number == 0 {
                    let mut bytes = raw.as_bytes().to_vec();
                    bytes.resize(bytes.len() + sent.fill, b'x');
                    client.send_bytes(&bytes).await?;
                }
                let method = raw.split(' ').next().unwrap_or_default();
                client.read_response(method).await
            }
            (Speaks::Http2(client), Some(request)) => client.send(&request).await,
            (Speaks::Http2(_), None) => panic!("bytes are for HTTP/1"),
        }
    }

    /// Does what a step does with bytes.
    pub async fn bytes(&mut self, sent: &Sent, observation: &mut Observation) {
        let Speaks::Http1(client) = &mut self.speaks else {
            return;
        };
        if sent.write.is_some() || sent.fill > 0 {
            let mut bytes = sent.write.clone().unwrap_or_default().into_bytes();
            bytes.resize(bytes.len() + sent.fill, b'x');
            // ignored: what is read tells
            let _ = client.send_bytes(&bytes).await;
        }
        if !sent.commands.is_empty() {
            // ignored: what is read tells
            let _ = client.send_bytes(&sent.redis()).await;
        }
        if !sent.frames.is_empty() {
            let frames = sent.frames.iter();
            let bytes = frames.flat_map(|text| match text.as_str() {
                "PREFACE" => frames::PREFACE.to_vec(),
                text => frames::frame(text),
            });
            // ignored: what is read tells
            let _ = client.send_bytes(&bytes.collect::<Vec<_>>()).await;
        }
        if sent.finish {
            // ignored: what is read tells
            let _ = client.finish_sending().await;
        }
        if sent.reset {
            let linger = socket2::SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO));
            linger.unwrap();
        }
        if let Some(wanted) = &sent.read {
            let mut got = Vec::new();
            let mut end = "";
            let show = if self.framed { frames::shown } else { text };
            while !show(&got).contains(wanted.as_str()) {
                match tokio::time::timeout(QUIET, client.read_some()).await {
                    Err(_) => end = " and no more",
                    Ok(Err(_)) => end = " and a reset",
                    Ok(Ok(bytes)) if bytes.is_empty() => end = " and the end",
                    Ok(Ok(bytes)) => {
                        got.extend_from_slice(&bytes);
                        continue;
                    }
                }
                break;
            }
            let show = if self.framed { frames::shown } else { shown };
            observation.say(&format!("read: {}{end}", show(&got)));
        }
        if sent.read_end {
            let mut got = Vec::new();
            let end = loop {
                match tokio::time::timeout(PATIENCE, client.read_some()).await {
                    Err(_) => break "no end in time",
                    Ok(Err(_)) => break "a reset",
                    Ok(Ok(bytes)) if bytes.is_empty() => break "the end",
                    Ok(Ok(bytes)) => got.extend_from_slice(&bytes),
                }
            };
            let show = if self.framed { frames::shown } else { shown };
            observation.say(&format!("read: {} and {end}", show(&got)));
        }
    }

    /// How it stands.
    pub async fn state(&mut self) -> &'static str {
        match &mut self.speaks {
            Speaks::Http1(client) => {
                let read = client.read_some();
                match tokio::time::timeout(Duration::from_millis(1), read).await {
                    Err(_) => "open",
                    Ok(Ok(bytes)) if bytes.is_empty() => "closed",
                    Ok(Ok(_)) => "open, with more to read",
                    Ok(Err(_)) => "closed",
                }
            }
            Speaks::Http2(client) if client.is_closed() => "closed",
            Speaks::Http2(_) => "open",
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn duplicate(stream: &TcpStream) -> std::net::TcpStream {
    socket2::SockRef::from(stream).try_clone().unwrap().into()
}
