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
use http::uri::{Authority, PathAndQuery};
use hyper_util::rt::TokioIo;
use meltemi_lifecycle::Random;
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::outbox::Outbox;
use crate::{Interest, Mode, Outgoing, Rate, Rejection, ResourceType, Session, Update};

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
    /// The one of this kind alone.
    Alone(ResourceType),
}

/// How the client speaks, and as whom.
pub struct ClientConfig {
    /// To which service.
    pub service: Service,
    /// The `:authority` of each stream.
    pub authority: Option<Authority>,
    /// Delta or state of the world.
    pub mode: Mode,
    /// Who this proxy is.
    pub node: Node,
    /// Sent as headers with each stream, such as `authorization`.
    pub metadata: StreamMetadata,
    /// How many requests are sent at most, if there is a limit.
    pub rate: Option<Rate>,
    /// Seeds the back-off's jitter.
    pub random: Random,
}

/// What a stream is opened with.
struct Target {
    service: Service,
    authority: Option<Authority>,
    mode: Mode,
    metadata: StreamMetadata,
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
    /// So many requests wait until they may be sent.
    Held(usize),
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
    let ClientConfig {
        service,
        authority,
        mode,
        node,
        metadata,
        rate,
        random,
    } = config;
    let mut outbox = Outbox::new(rate);
    let target = Target {
        service,
        authority,
        mode,
        metadata,
    };
    let mut session = Session::new(mode, node);
    let mut failures = 0u32;
    loop {
        let mut answered = false;
        let end = stream(
            &mut session,
            &target,
            &connector,
            &mut outbox,
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
        let wait = tokio::time::sleep(ceiling.mul_f64(random.unit()));
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
    target: &Target,
    connector: &Connector,
    outbox: &mut Outbox,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    events: &mpsc::Sender<Event>,
    answered: &mut bool,
) -> StreamEnd {
    let mut wire = match Wire::open(target, connector).await {
        Ok(wire) => wire,
        Err(end) => return end,
    };
    outbox.begin(session.on_connected());
    if events.send(Event::Connected).await.is_err() {
        return StreamEnd::Dropped;
    }
    let mut held = 0;
    loop {
        while let Some(message) = outbox.next() {
            if wire.send(message).await.is_err() {
                return StreamEnd::Closed;
            }
        }
        let waiting = outbox.len();
        if waiting != held && events.send(Event::Held(waiting)).await.is_err() {
            return StreamEnd::Dropped;
        }
        held = waiting;
        tokio::select! {
            () = outbox.allowed(), if waiting > 0 => {}
            command = commands.recv() => {
                let Some(command) = command else { return StreamEnd::Dropped };
                outbox.extend(execute(session, command));
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

/// The answers of a stream. A server need not say anything before its first one, so that requests go
/// out while the stream is still opening.
enum Answers<T> {
    Opening(Pin<Box<dyn Future<Output = Result<tonic::Streaming<T>, tonic::Status>> + Send>>),
    Open(Box<tonic::Streaming<T>>),
}

impl<T> Answers<T> {
    async fn next(&mut self) -> Result<Option<T>, tonic::Status> {
        loop {
            match self {
                Self::Opening(opening) => *self = Self::Open(Box::new(opening.await?)),
                Self::Open(stream) => return stream.message().await,
            }
        }
    }
}

/// An open stream in one of the two forms.
enum Wire {
    Delta(
        mpsc::Sender<DeltaDiscoveryRequest>,
        Answers<DeltaDiscoveryResponse>,
    ),
    Sotw(mpsc::Sender<DiscoveryRequest>, Answers<DiscoveryResponse>),
}

impl Wire {
    async fn open(target: &Target, connector: &Connector) -> Result<Self, StreamEnd> {
        let Some(method) = target.service.method(target.mode) else {
            let reason = "virtual hosts are discovered in the delta form alone";
            return Err(StreamEnd::Connect(reason.to_owned()));
        };
        let channel = connect(connector, target.authority.as_ref()).await?;
        Ok(match target.mode {
            Mode::Delta => {
                let (sender, answers) = call(channel, method, &target.metadata)?;
                Self::Delta(sender, answers)
            }
            Mode::Sotw => {
                let (sender, answers) = call(channel, method, &target.metadata)?;
                Self::Sotw(sender, answers)
            }
        })
    }

    async fn send(&mut self, message: Outgoing) -> Result<(), ()> {
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
            Self::Delta(_, answers) => answers.next().await?.map(Response::Delta),
            Self::Sotw(_, answers) => answers.next().await?.map(Response::Sotw),
        })
    }
}

impl Service {
    /// The method's path; none where there is none in this form.
    fn method(self, mode: Mode) -> Option<PathAndQuery> {
        let (service, kind) = match self {
            Self::Aggregated => (
                "discovery.v3.AggregatedDiscoveryService",
                "AggregatedResources",
            ),
            Self::Alone(kind) => match kind {
                ResourceType::Cluster => ("cluster.v3.ClusterDiscoveryService", "Clusters"),
                ResourceType::Endpoint => ("endpoint.v3.EndpointDiscoveryService", "Endpoints"),
                ResourceType::Listener => ("listener.v3.ListenerDiscoveryService", "Listeners"),
                ResourceType::Route => ("route.v3.RouteDiscoveryService", "Routes"),
                ResourceType::VirtualHost if mode == Mode::Sotw => return None,
                ResourceType::VirtualHost => {
                    ("route.v3.VirtualHostDiscoveryService", "VirtualHosts")
                }
                ResourceType::Secret => ("secret.v3.SecretDiscoveryService", "Secrets"),
                ResourceType::Extension => (
                    "extension.v3.ExtensionConfigDiscoveryService",
                    "ExtensionConfigs",
                ),
            },
        };
        let form = match mode {
            Mode::Delta => "Delta",
            Mode::Sotw => "Stream",
        };
        format!("/envoy.service.{service}/{form}{kind}")
            .parse()
            .ok()
    }
}

/// Begins a stream.
fn call<Q, A>(
    channel: Channel,
    method: PathAndQuery,
    metadata: &StreamMetadata,
) -> Result<(mpsc::Sender<Q>, Answers<A>), StreamEnd>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(64);
    let request = with_metadata(ReceiverStream::new(receiver), metadata)?;
    let opening = async move {
        let mut client = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
        client
            .ready()
            .await
            .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let response = client.streaming(request, method, codec).await?;
        Ok(response.into_inner())
    };
    Ok((sender, Answers::Opening(Box::pin(opening))))
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

async fn connect(
    connector: &Connector,
    authority: Option<&Authority>,
) -> Result<Channel, StreamEnd> {
    let connector = Arc::clone(connector);
    // The address is the connector's business; this one only names the authority.
    let endpoint = match authority {
        Some(authority) => Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|error| StreamEnd::Connect(error.to_string()))?,
        None => Endpoint::from_static("http://xds.meltemi"),
    };
    let endpoint = endpoint
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
