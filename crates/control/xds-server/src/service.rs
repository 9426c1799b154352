//! Sessions over streams, which may be of one kind alone. How they come from gRPC is in `grpc.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meltemi_lifecycle::{Clock, DrainSignal};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};
use tracing::{info, warn};

use crate::grpc::{Answer, frame};
use crate::rate::RequestRate;
use crate::unproven::Unproven;
use crate::{
    Form, Incoming, Kind, Presence, ProxyRegistry, ProxyStatus, ProxyView, Refusal, Session,
    Unnoted, View, Viewer, XdsMetrics,
};

/// How long a push waits for a proxy's confirmation before it goes on without.
const CONFIRMATION_LIMIT: Duration = Duration::from_secs(5);

/// What a connection proves about its caller; the listener that accepted it puts it into
/// the request's extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The connection is TLS.
    pub secure: bool,
    /// URI names of a verified client certificate.
    pub identities: Vec<String>,
}

/// Decides whether a caller may be served as a node.
#[tonic::async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Lets a stream in, for as long as it holds what this gives, or says why not. `token` is the bearer
    /// token, if one was sent.
    async fn admit(
        &self,
        caller: &Caller,
        token: Option<&str>,
        node: &Node,
    ) -> Result<Box<dyn Presence>, Refusal>;
}

/// What a service is made of.
#[derive(Clone)]
pub struct ServiceConfig {
    /// The mesh; a new one, or the same again, makes everybody look at it.
    pub views: watch::Receiver<Arc<dyn View>>,
    /// Who may connect.
    pub admission: Arc<dyn Admission>,
    /// Where connections are listed.
    pub registry: Arc<ProxyRegistry>,
    /// Where they are counted.
    pub metrics: XdsMetrics,
    /// How many proxies are computed for at a time.
    pub concurrent_pushes: usize,
    /// How many streams may begin in a second; `None` for no limit.
    pub streams_per_second: Option<f64>,
    /// The clock.
    pub clock: Clock,
    /// Ends the streams at shutdown, so that proxies reconnect elsewhere.
    pub drain: DrainSignal,
}

/// The discovery services: the aggregated one, and those of one kind each.
#[derive(Clone)]
pub struct AdsService {
    config: ServiceConfig,
    throttle: Arc<Semaphore>,
    rate: Arc<RequestRate>,
    connections: Arc<AtomicU64>,
}

impl AdsService {
    /// A service that serves the latest view.
    pub fn new(config: ServiceConfig) -> Self {
        let throttle = Arc::new(Semaphore::new(config.concurrent_pushes.max(1)));
        let rate = Arc::new(RequestRate::new(config.streams_per_second));
        Self {
            config,
            throttle,
            rate,
            connections: Arc::default(),
        }
    }

    fn start<Q: Send + 'static>(
        &self,
        request: Request<Streaming<Q>>,
        form: Form,
        wrap: impl Fn(Q) -> Result<Incoming, Status> + Send + Sync + 'static,
    ) -> mpsc::Receiver<Answer> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .unwrap_or_default();
        let authorization = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = authorization
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::to_owned);
        let (sender, receiver) = mpsc::channel(4);
        let connection = Connection {
            number: self.connections.fetch_add(1, Ordering::Relaxed) + 1,
            config: self.config.clone(),
            throttle: Arc::clone(&self.throttle),
            rate: Arc::clone(&self.rate),
            session: Session::new(form),
            caller,
            token,
            sender,
            presence: Box::new(Unnoted),
            pushed: None,
            sent: None,
            heard: true,
        };
        tokio::spawn(connection.run(request.into_inner(), form, wrap));
        receiver
    }

    /// A stream in the state-of-the-world form, of one kind alone or of all.
    pub(crate) fn sotw(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
        only: Option<Kind>,
    ) -> mpsc::Receiver<Answer> {
        let wrap = move |mut request: DiscoveryRequest| {
            imply(&mut request.type_url, only)?;
            Ok(Incoming::Sotw(request))
        };
        self.start(request, Form::Sotw, wrap)
    }

    /// A stream in the delta form, of one kind alone or of all.
    pub(crate) fn delta(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
        only: Option<Kind>,
    ) -> mpsc::Receiver<Answer> {
        let wrap = move |mut request: DeltaDiscoveryRequest| {
            imply(&mut request.type_url, only)?;
            Ok(Incoming::Delta(request))
        };
        self.start(request, Form::Delta, wrap)
    }
}

/// On a stream of one kind a request need not name it, and must not name another.
fn imply(type_url: &mut String, only: Option<Kind>) -> Result<(), Status> {
    let Some(kind) = only else { return Ok(()) };
    if type_url.is_empty() {
        *type_url = kind.type_url();
    } else if *type_url != kind.type_url() {
        let message = format!(
            "this stream is of {}, and not of {type_url}",
            kind.type_url()
        );
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

/// One stream.
struct Connection {
    number: u64,
    config: ServiceConfig,
    throttle: Arc<Semaphore>,
    rate: Arc<RequestRate>,
    session: Session,
    caller: Caller,
    token: Option<String>,
    sender: mpsc::Sender<Answer>,
    /// The proxy, for whoever let it in.
    presence: Box<dyn Presence>,
    /// When the change that is being pushed came.
    pushed: Option<Instant>,
    /// When something was last sent that is not confirmed, or has not got its endpoints.
    sent: Option<Instant>,
    /// The proxy has said something since its status was last written down.
    heard: bool,
}

/// The stream is over.
struct Ended;

impl Connection {
    async fn run<Q: Send + 'static>(
        mut self,
        mut requests: Streaming<Q>,
        form: Form,
        wrap: impl Fn(Q) -> Result<Incoming, Status>,
    ) {
        match self.rate.admit(Instant::now()) {
            Some(begin) => tokio::time::sleep_until(begin).await,
            None => {
                let status = Status::resource_exhausted("too many streams begin at a time");
                let _ = self.sender.send(Err(status)).await;
                return;
            }
        }
        let Ok(Some(first)) = requests.message().await else {
            return;
        };
        let first = match wrap(first) {
            Ok(first) => first,
            Err(status) => {
                let _ = self.sender.send(Err(status)).await;
                return;
            }
        };
        let health = first.health();
        drop(self.session.receive(first));
        let node = self.session.node().cloned().unwrap_or_default();
        let admission = Arc::clone(&self.config.admission);
        let admitted = admission.admit(&self.caller, self.token.as_deref(), &node);
        self.presence = match admitted.await {
            Ok(presence) => presence,
            Err(refusal) => {
                warn!(node = node.id, "xDS stream refused: {}", refusal.reason());
                self.config.metrics.refused_caller();
                let _ = self.sender.send(Err(refusal.status())).await;
                return;
            }
        };
        let reports_health = health.is_some();
        if let Some(health) = health {
            self.presence.report(health);
        }
        info!(
            node = node.id,
            connection = self.number,
            ?form,
            "proxy connected"
        );
        self.config.metrics.opened();
        self.config.registry.insert(ProxyStatus {
            connection: self.number,
            node: Arc::clone(&node),
            form,
            connected: self.config.clock.wall(),
            reports_health,
            kinds: BTreeMap::new(),
        });
        let _ = self.serve(&mut requests, wrap).await;
        self.config.registry.remove(self.number);
        self.config.metrics.closed();
        info!(
            node = node.id,
            connection = self.number,
            "proxy disconnected"
        );
    }

    async fn serve<Q: Send + 'static>(
        &mut self,
        requests: &mut Streaming<Q>,
        wrap: impl Fn(Q) -> Result<Incoming, Status>,
    ) -> Result<(), Ended> {
        let mut views = self.config.views.clone();
        let mut drain = self.config.drain.clone();
        let node = self.session.node().cloned().unwrap_or_default();
        let mut viewer = Arc::clone(&views.borrow_and_update()).viewer(&node);
        let mut changes = viewer.changes();
        self.send(&viewer).await?;
        loop {
            let limit = self.sent.map_or_else(
                || Instant::now() + CONFIRMATION_LIMIT,
                |sent| sent + CONFIRMATION_LIMIT,
            );
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => match wrap(request) {
                        Ok(request) => self.receive(request),
                        Err(status) => {
                            let _ = self.sender.send(Err(status)).await;
                            return Err(Ended);
                        }
                    },
                    Ok(None) | Err(_) => return Err(Ended),
                },
                changed = changes.changed() => {
                    changed.map_err(|_| Ended)?;
                    self.changed();
                }
                replaced = views.changed() => {
                    replaced.map_err(|_| Ended)?;
                    viewer = Arc::clone(&views.borrow_and_update()).viewer(&node);
                    changes = viewer.changes();
                    self.changed();
                }
                () = tokio::time::sleep_until(limit), if self.sent.is_some() => {
                    if self.session.is_waiting() {
                        let without = self.session.awaited_endpoints();
                        info!(
                            connection = self.number,
                            ?without,
                            "the proxy has not confirmed in time, or asked for the endpoints of clusters; the push goes on"
                        );
                    }
                    self.session.stop_waiting();
                    self.sent = None;
                }
                () = drain.draining() => {
                    let _ = self.sender.send(Err(Status::unavailable("the control plane is shutting down"))).await;
                    return Err(Ended);
                }
                () = self.sender.closed() => return Err(Ended),
            }
            self.send(&viewer).await?;
        }
    }

    /// What the proxy should have may be something else now.
    fn changed(&mut self) {
        self.pushed.get_or_insert(Instant::now());
        self.session.changed();
    }

    fn receive(&mut self, incoming: Incoming) {
        if let Some(health) = incoming.health() {
            self.presence.report(health);
            return;
        }
        self.heard = true;
        if let Some(nack) = self.session.receive(incoming) {
            let node = self.session.node().map_or("", |node| node.id.as_str());
            warn!(node, kind = %nack.kind, "configuration refused by the proxy: {}", nack.reason);
            self.config.metrics.refused(nack.kind);
        }
    }

    async fn send(&mut self, viewer: &Arc<dyn Viewer>) -> Result<(), Ended> {
        while self.send_once(viewer).await? {
            self.session.changed();
        }
        Ok(())
    }

    /// Sends what can be sent; whether that was made from a moment that was over by then.
    async fn send_once(&mut self, viewer: &Arc<dyn Viewer>) -> Result<bool, Ended> {
        let (messages, outdated) = {
            let _permit = self.throttle.acquire().await.map_err(|_| Ended)?;
            let seen = viewer.look();
            let seen: Arc<dyn ProxyView> = match self.caller.secure {
                true => seen,
                false => Arc::new(Unproven(seen)),
            };
            let messages = self.session.next(seen.as_ref());
            (messages, seen.is_outdated())
        };
        let quiet = messages.is_empty() && !self.heard;
        self.heard = false;
        for message in messages {
            self.config.metrics.sent(message.kind);
            let frame = frame(&message);
            drop(message);
            self.sender.send(frame).await.map_err(|_| Ended)?;
            self.sent = Some(Instant::now());
        }
        if self.session.is_confirmed() {
            if !self.session.awaits_endpoints() {
                self.sent = None;
            }
            if let Some(pushed) = self.pushed.take() {
                self.config
                    .metrics
                    .converged(pushed.elapsed().as_secs_f64());
            }
        }
        if !quiet {
            self.config.registry.update(self.number, &self.session);
        }
        Ok(outdated)
    }
}
