//! A proxy as far as xDS knows one: it confirms what comes and asks for what that names.
//!
//! gRPC is done by hand over h2, and of a message only names are decoded, so that the clients of
//! thousands of proxies leave the processor to the control plane.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::SendStream;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const WINDOW: u32 = 1 << 20;

/// A kind of resource, in the order in which a proxy asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Url {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

/// Something that a proxy was sent and has confirmed, or why it has ended.
#[derive(Debug)]
pub struct Seen {
    pub proxy: usize,
    pub kind: Option<Url>,
    /// Of the message, without its framing.
    pub bytes: usize,
    /// The proxy has everything now, for the first time.
    pub complete: bool,
    pub problem: Option<String>,
}

/// `DeltaDiscoveryResponse` without what the resources are.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Named>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// The name of a `Resource`.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "3")]
    name: String,
}

impl Url {
    const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    fn name(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }
}

/// Starts a proxy that reports everything that it is sent.
pub fn spawn(address: SocketAddr, proxy: usize, node: Node, report: mpsc::UnboundedSender<Seen>) {
    tokio::spawn(async move {
        if let Err(error) = converse(address, proxy, node, &report).await {
            let _ = report.send(Seen {
                proxy,
                kind: None,
                bytes: 0,
                complete: false,
                problem: Some(format!("{error:#}")),
            });
        }
    });
}

async fn converse(
    address: SocketAddr,
    proxy: usize,
    node: Node,
    report: &mpsc::UnboundedSender<Seen>,
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut requests) = client.ready().await?.send_request(request, false)?;
    send(
        &mut requests,
        &DeltaDiscoveryRequest {
            node: Some(node),
            type_url: Url::Cluster.name().to_owned(),
            ..Default::default()
        },
    )?;
    let response = response.await?;
    if !response.status().is_success() {
        bail!("{}", response.status());
    }
    let mut body = response.into_body();
    let mut buffer = BytesMut::new();
    let mut asked = 1;
    loop {
        let Some(chunk) = body.data().await else {
            bail!("the stream has ended");
        };
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        buffer.extend_from_slice(&chunk);
        while let Some(message) = take(&mut buffer) {
            let bytes = message.len();
            let answer = Answer::decode(message)?;
            let kind = Url::ALL.into_iter().find(|it| it.name() == answer.type_url);
            let kind = kind.context("an answer of a kind that was not asked for")?;
            let next = next(kind, &answer, asked);
            send(
                &mut requests,
                &DeltaDiscoveryRequest {
                    type_url: answer.type_url,
                    response_nonce: answer.nonce,
                    ..Default::default()
                },
            )?;
            let complete = kind == Url::Route && asked == Url::ALL.len();
            if let Some(next) = next {
                asked += 1;
                send(&mut requests, &next)?;
            }
            asked += usize::from(complete);
            let seen = Seen {
                proxy,
                kind: Some(kind),
                bytes,
                complete,
                problem: None,
            };
            if report.send(seen).is_err() {
                return Ok(());
            }
        }
    }
}

/// What is asked for after the first answer of each kind.
fn next(kind: Url, answer: &Answer, asked: usize) -> Option<DeltaDiscoveryRequest> {
    let next = *Url::ALL
        .get(asked)
        .filter(|_| Url::ALL[asked - 1] == kind)?;
    let names = match next {
        Url::Endpoint => {
            let names = answer.resources.iter().map(|it| &it.name);
            names
                .filter(|it| it.starts_with("outbound|"))
                .cloned()
                .collect()
        }
        // The services have no other port.
        Url::Route => vec!["80".to_owned()],
        Url::Cluster | Url::Listener => Vec::new(),
    };
    Some(DeltaDiscoveryRequest {
        type_url: next.name().to_owned(),
        resource_names_subscribe: names,
        ..Default::default()
    })
}

fn send(requests: &mut SendStream<Bytes>, message: &DeltaDiscoveryRequest) -> Result<()> {
    let mut frame = BytesMut::with_capacity(5 + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut frame)?;
    // What the window does not take yet, h2 keeps.
    Ok(requests.send_data(frame.freeze(), false)?)
}

/// The next whole message.
fn take(buffer: &mut BytesMut) -> Option<Bytes> {
    let head = buffer.first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(buffer.split_to(length).freeze())
}
