//! The session over a gRPC stream: connects, reconnects with back-off, passes messages.
//!
//! One task owns the session. Updates come out in order and each must be answered with
//! [`Client::acknowledge`]; interest goes in with [`Client::set_interest`].

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use meltemi_lifecycle::Random;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::envoy::service::route::v3::virtual_host_discovery_service_client::VirtualHostDiscoveryServiceClient;
use meltemi_xds::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::{Interest, Mode, Outgoing, Rejection, ResourceType, Session, Update};

/// The first wait before connecting again.
const BACKOFF_BASE: Duration = Duration::from_millis(500);

/// The longest wait before connecting again.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes.
const MAX_MESSAGE: usize = 256 << 20;

/// A byte stream to the management server.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Makes a byte stream to the management server, TLS included.
pub type Connector =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> + Send + Sync>;

/// Headers for each new stream, asked for at each connection so that a token may change.
pub type StreamMetadata = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// Which discovery service is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The aggregated one, for resources of all kinds.
    #[default]
    Aggregated,
    /// The one of secrets alone.
    Secrets,
    /// The one of virtual hosts alone, which there is in the delta form only.
    VirtualHosts,
}

/// How the client speaks, and as whom.
pub struct ClientConfig {
    /// To which service.
    pub service: Service,
    /// Delta or state of the world.
    pub mode: Mode,
    /// Who this proxy is.
    pub node: Node,
    /// Sent as headers with each stream, such as `authorization`.
    pub metadata: StreamMetadata,
    /// Seeds the back-off's jitter.
    pub random: Random,
}

/// What the client has to say.
#[derive(Debug)]
pub enum Event {
    /// A stream is open.
    Connected,
    /// The stream, or the attempt to open one, has ended.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// An answer to apply.
    Update(Update),
}

enum Command {
    Interest(ResourceType, Interest),
    Acknowledge(Update, Vec<Rejection>),
}

/// A handle to the running client; it stops when the last handle is dropped.
#[derive(Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
}

impl Client {
    /// Starts the client on the current runtime.
    pub fn start(config: ClientConfig, connector: Connector) -> (Self, mpsc::Receiver<Event>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (events, updates) = mpsc::channel(16);
        tokio::spawn(run(config, connector, receiver, events));
        (Self { commands }, updates)
    }

    /// Changes what is wanted of a kind.
    pub fn set_interest(&self, kind: ResourceType, interest: Interest) {
        let _ = self.commands.send(Command::Interest(kind, interest));
    }

    /// Says that an update was applied, all but these resources.
    pub fn acknowledge(&self, update: Update, rejected: Vec<Rejection>) {
        let _ = self.commands.send(Command::Acknowledge(update, rejected));
    }
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Status(Box<tonic::Status>),
    #[error("the management server closed the stream")]
    Closed,
    #[error("the client was dropped")]
    Dropped,
}

async fn run(
    config: ClientConfig,
    connector: Connector,
    mut commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
) {
    let mut session = Session::new(config.mode, config.node);
    let mut failures = 0u32;
    loop {
        let mut answered = false;
        let end = stream(
            &mut session,
            config.service,
            &config.metadata,
            &connector,
            &mut commands,
            &events,
            &mut answered,
        )
        .await;
        session.on_disconnected();
        if matches!(end, StreamEnd::Dropped) {
            return;
        }
        failures = if answered {
            0
        } else {
            failures.saturating_add(1)
        };
        let reason = end.to_string();
        if events.send(Event::Disconnected { reason }).await.is_err() {
            return;
        }
        let ceiling = BACKOFF_BASE
            .saturating_mul(1 << failures.min(6))
            .min(BACKOFF_MAX);
        let wait = tokio::time::sleep(ceiling.mul_f64(config.random.unit()));
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                command = commands.recv() => match command {
                    None => return,
                    Some(command) => drop(execute(&mut session, command)),
                },
            }
        }
    }
}

fn execute(session: &mut Session, command: Command) -> Option<Outgoing> {
    match command {
        Command::Interest(kind, interest) => session.set_interest(kind, interest),
        Command::Acknowledge(update, rejected) => session.acknowledge(&update, &rejected),
    }
}

async fn stream(
    session: &mut Session,
    service: Service,
    metadata: &StreamMetadata,
    connector: &Connector,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    events: &mpsc::Sender<Event>,
    answered: &mut bool,
) -> StreamEnd {
    let mode = session.mode();
    let mut wire = match Wire::open(service, mode, metadata, connector).await {
        Ok(wire) => wire,
        Err(end) => return end,
    };
    for message in session.on_connected() {
        if wire.send(message).await.is_err() {
            return StreamEnd::Closed;
        }
    }
    if events.send(Event::Connected).await.is_err() {
        return StreamEnd::Dropped;
    }
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some(command) = command else { return StreamEnd::Dropped };
                if let Some(message) = execute(session, command)
                    && wire.send(message).await.is_err()
                {
                    return StreamEnd::Closed;
                }
            }
            response = wire.receive() => {
                let update = match response {
                    Ok(Some(Response::Delta(response))) => session.on_delta(response),
                    Ok(Some(Response::Sotw(response))) => session.on_sotw(response),
                    Ok(None) => return StreamEnd::Closed,
                    Err(status) => return StreamEnd::Status(Box::new(status)),
                };
                *answered = true;
                if let Some(update) = update
                    && events.send(Event::Update(update)).await.is_err()
                {
                    return StreamEnd::Dropped;
                }
            }
        }
    }
}

enum Response {
    Delta(DeltaDiscoveryResponse),
    Sotw(DiscoveryResponse),
}

/// An open stream in one of the two forms.
enum Wire {
    Delta(
        mpsc::Sender<DeltaDiscoveryRequest>,
        tonic::Streaming<DeltaDiscoveryResponse>,
    ),
    Sotw(
        mpsc::Sender<DiscoveryRequest>,
        tonic::Streaming<DiscoveryResponse>,
    ),
}

impl Wire {
    async fn open(
        service: Service,
        mode: Mode,
        metadata: &StreamMetadata,
        connector: &Connector,
    ) -> Result<Self, StreamEnd> {
        let channel = connect(connector).await?;
        let all = || {
            AggregatedDiscoveryServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
        };
        let secrets = || {
            SecretDiscoveryServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
        };
        let hosts = || {
            VirtualHostDiscoveryServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
        };
        let status = |status| StreamEnd::Status(Box::new(status));
        Ok(match mode {
            Mode::Delta => {
                let (sender, receiver) = mpsc::channel(64);
                let request = with_metadata(ReceiverStream::new(receiver), metadata)?;
                let response = match service {
                    Service::Aggregated => all().delta_aggregated_resources(request).await,
                    Service::Secrets => secrets().delta_secrets(request).await,
                    Service::VirtualHosts => hosts().delta_virtual_hosts(request).await,
                };
                Self::Delta(sender, response.map_err(status)?.into_inner())
            }
            Mode::Sotw => {
                let (sender, receiver) = mpsc::channel(64);
                let request = with_metadata(ReceiverStream::new(receiver), metadata)?;
                let response = match service {
                    Service::Aggregated => all().stream_aggregated_resources(request).await,
                    Service::Secrets => secrets().stream_secrets(request).await,
                    Service::VirtualHosts => {
                        let reason = "virtual hosts are discovered in the delta form alone";
                        return Err(StreamEnd::Connect(reason.to_owned()));
                    }
                };
                Self::Sotw(sender, response.map_err(status)?.into_inner())
            }
        })
    }

    async fn send(&self, message: Outgoing) -> Result<(), ()> {
        match (self, message) {
            (Self::Delta(sender, _), Outgoing::Delta(request)) => {
                sender.send(request).await.map_err(drop)
            }
            (Self::Sotw(sender, _), Outgoing::Sotw(request)) => {
                sender.send(request).await.map_err(drop)
            }
            // A session speaks one form from beginning to end.
            (Self::Delta(..), Outgoing::Sotw(_)) | (Self::Sotw(..), Outgoing::Delta(_)) => Err(()),
        }
    }

    async fn receive(&mut self) -> Result<Option<Response>, tonic::Status> {
        Ok(match self {
            Self::Delta(_, stream) => stream.message().await?.map(Response::Delta),
            Self::Sotw(_, stream) => stream.message().await?.map(Response::Sotw),
        })
    }
}

fn with_metadata<S>(stream: S, metadata: &StreamMetadata) -> Result<tonic::Request<S>, StreamEnd> {
    let mut request = tonic::Request::new(stream);
    for (name, value) in metadata() {
        let bad = || StreamEnd::Connect(format!("initial metadata {name:?} is not a header"));
        let key = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = MetadataValue::try_from(value).map_err(|_| bad())?;
        request.metadata_mut().insert(key, value);
    }
    Ok(request)
}

async fn connect(connector: &Connector) -> Result<Channel, StreamEnd> {
    let connector = Arc::clone(connector);
    // The address is the connector's business; this one only names the authority.
    let endpoint = Endpoint::from_static("http://xds.meltemi")
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_timeout(Duration::from_secs(10));
    let service = tower::service_fn(move |_: Uri| {
        let connection = connector();
        async move { connection.await.map(TokioIo::new) }
    });
    endpoint
        .connect_with_connector(service)
        .await
        .map_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text = inner.to_string();
                source = inner.source();
            }
            StreamEnd::Connect(text)
        })
}
