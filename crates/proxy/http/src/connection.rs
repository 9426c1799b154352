//! One downstream connection: its settings of the moment, its streams, whether it is to end.
//!
//! Every request looks at the slot once; while nothing has changed it shares the settings of
//! the request before it, so that no count is kept that other workers write to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use meltemi_lifecycle::DrainSignal;
use meltemi_telemetry::{ConnectionInfo, HttpStats};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::headers::{client_cert, names};
use crate::manager::{ConnectionManager, Routes};
use crate::route::RouteTable;
use crate::server::refusal::CodecRefusal;
use crate::upgrade::Tunnel;
use crate::worker::WorkerContext;

/// What [`crate::serve`] is given besides the byte stream.
pub struct ConnectionContext {
    /// Where the connection manager of the filter chain is found; looked at for each request.
    pub slot: Arc<ArcSwap<ConnectionManager>>,
    /// The worker.
    pub worker: Rc<WorkerContext>,
    /// What is known of the connection.
    pub info: Rc<ConnectionInfo>,
    /// Asks the connection to finish.
    pub drain: DrainSignal,
    /// The listener's `per_connection_buffer_limit`: how much of a request is kept for a retry.
    pub buffer_limit: usize,
}

/// Settings as one or more requests of a connection use them.
pub(crate) struct Settings {
    pub(crate) manager: Arc<ConnectionManager>,
    pub(crate) routes: Option<Arc<RouteTable>>,
    /// See [`client_cert::element`].
    pub(crate) certificate: Option<HeaderValue>,
    /// Some of the request's headers are wanted when the response or the record is made.
    pub(crate) keeps_headers: bool,
    /// The request's headers that logs, metrics and formats look at.
    pub(crate) request_fields: Vec<HeaderName>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet.
    Open,
    /// Every response says that it is the last, and whoever comes all the same is served, until
    /// the watcher's patience is over.
    Draining,
    /// After the streams in progress.
    Graceful,
    /// The head of a request did not come in time.
    HeaderTimeout,
}

/// How the last stream of an HTTP/1 connection left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// The client, or the lack of a length, ends the connection, and nothing of the request is
    /// still to come: there is nothing to wait for.
    pub(crate) for_good: bool,
    /// Request and response have passed as a whole: another request may follow.
    pub(crate) whole: bool,
}

/// A downstream connection.
pub(crate) struct Connection {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) info: Rc<ConnectionInfo>,
    pub(crate) buffer_limit: usize,
    slot: Arc<ArcSwap<ConnectionManager>>,
    settings: RefCell<Rc<Settings>>,
    ending: Cell<Ending>,
    waker: RefCell<Option<Waker>>,
    pub(crate) active: Cell<u32>,
    requests: Cell<u32>,
    pub(crate) idle_since: Cell<Instant>,
    pub(crate) opened: Instant,
    /// When the first byte of a head came whose last has not come.
    pub(crate) head_began: Cell<Option<Instant>>,
    /// The next bytes belong to a request's head.
    pub(crate) expects_head: Cell<bool>,
    /// The bytes of the head as they came, for what the codec does not tell.
    pub(crate) head_bytes: RefCell<Vec<u8>>,
    /// HTTP/1, where such bytes are of use.
    pub(crate) keeps_heads: Cell<bool>,
    /// What an HTTP/1 connection becomes when its codec has ended.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
    /// Tells the watcher that something is to be waited for.
    pub(crate) watch: Notify,
    /// Nothing more comes from the client.
    gone: Cell<bool>,
    /// A response was given to the codec, which has not written any of it.
    pub(crate) answered: Cell<bool>,
    /// A byte has come.
    pub(crate) heard: Cell<bool>,
    /// When the last one came, where that is asked for.
    pub(crate) read_at: Cell<Option<Instant>>,
    /// The client ends the connection with the request of the moment.
    pub(crate) client_ends: Cell<bool>,
    /// How the last stream left the connection.
    pub(crate) left: Cell<Left>,
    /// What took the place of the codec's own answer.
    pub(crate) refused: Cell<Option<CodecRefusal>>,
    /// What filters keep for as long as the connection lasts.
    kept: RefCell<Vec<(usize, Rc<dyn std::any::Any>)>>,
}

impl Connection {
    pub(crate) fn new(context: ConnectionContext) -> (Rc<Self>, DrainSignal) {
        let ConnectionContext {
            slot,
            worker,
            info,
            drain,
            buffer_limit,
        } = context;
        let settings = Rc::new(Settings::new(slot.load_full(), &info));
        let now = worker.clock.now();
        let connection = Rc::new(Self {
            worker,
            info,
            buffer_limit,
            slot,
            settings: RefCell::new(settings),
            ending: Cell::new(Ending::Open),
            waker: RefCell::new(None),
            active: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            opened: now,
            head_began: Cell::new(None),
            expects_head: Cell::new(true),
            head_bytes: RefCell::new(Vec::new()),
            keeps_heads: Cell::new(true),
            tunnel: RefCell::new(None),
            watch: Notify::new(),
            gone: Cell::new(false),
            answered: Cell::new(false),
            heard: Cell::new(false),
            read_at: Cell::new(None),
            client_ends: Cell::new(false),
            left: Cell::default(),
            refused: Cell::new(None),
            kept: RefCell::default(),
        });
        (connection, drain)
    }

    /// The settings of this moment.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        let mut settings = self.settings.borrow_mut();
        let manager = self.slot.load();
        if !Arc::ptr_eq(&manager, &settings.manager) || !settings.has_newest_routes() {
            *settings = Rc::new(Settings::new(Arc::clone(&manager), &self.info));
        }
        settings.clone()
    }

    /// The settings that the last request used.
    pub(crate) fn last_settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    /// Looks at the connection manager of the last request and at this worker's statistics.
    #[inline]
    pub(crate) fn with_manager<R>(
        &self,
        look: impl FnOnce(&ConnectionManager, &HttpStats) -> R,
    ) -> R {
        let settings = self.settings.borrow();
        look(
            &settings.manager,
            settings.manager.stats.shard(self.worker.worker),
        )
    }

    pub(crate) fn stream_began(&self) {
        self.active.set(self.active.get() + 1);
        let requests = self.requests.get().saturating_add(1);
        self.requests.set(requests);
        let limit = self.with_manager(|manager, _| manager.config.max_requests_per_connection);
        if limit > 0 && requests >= limit && self.ending.get() == Ending::Open {
            self.with_manager(|_, stats| stats.downstream_cx_max_requests_reached.inc());
            self.end(if self.is_http2() {
                Ending::Draining
            } else {
                Ending::Graceful
            });
        }
    }

    pub(crate) fn stream_ended(&self, now: Instant) {
        self.active.set(self.active.get().saturating_sub(1));
        if self.ending.get() != Ending::Open {
            self.wake();
        }
        self.idle_since.set(now);
        self.expects_head.set(self.keeps_heads.get());
    }

    /// Forgets the bytes of a head that has been looked at.
    pub(crate) fn forget_head(&self) {
        const USUAL: usize = 8 << 10;
        let mut bytes = self.head_bytes.borrow_mut();
        bytes.clear();
        if bytes.capacity() > USUAL {
            *bytes = Vec::new();
        }
    }

    /// What is kept with the connection under this key, made where it is not there.
    pub(crate) fn kept<T: 'static>(&self, key: usize, make: impl FnOnce() -> T) -> Rc<T> {
        let mut kept = self.kept.borrow_mut();
        let known = kept.iter().find(|(known, _)| *known == key);
        if let Some(Ok(value)) = known.map(|(_, value)| value.clone().downcast()) {
            return value;
        }
        let value = Rc::new(make());
        kept.push((key, value.clone()));
        value
    }

    /// Asks the connection to end.
    pub(crate) fn end(&self, how: Ending) {
        self.ending.set(how);
        if how == Ending::Draining {
            self.watch.notify_one();
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        !self.keeps_heads.get()
    }

    /// Nothing more comes from the client.
    pub(crate) fn client_is_gone(&self) {
        self.gone.set(true);
    }

    /// Whether the client has left.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending.get()
    }

    /// Remembers whom to wake when the connection is asked to end.
    pub(crate) fn driven_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &*known {
            Some(known) if known.will_wake(waker) => {}
            _ => *known = Some(waker.clone()),
        }
    }
}

impl Settings {
    fn new(manager: Arc<ConnectionManager>, info: &ConnectionInfo) -> Self {
        let routes = match &manager.routes {
            Routes::Inline(table) => Some(table.clone()),
            Routes::Discovered(slot) => slot.load_full(),
        };
        let certificate = client_cert::element(
            manager.config.forward_client_cert,
            &manager.config.set_current_client_cert,
            info.tls.as_ref(),
        );
        let mut request_fields = manager.fields.request_headers.clone();
        let mut keeps_headers = manager.recorded || manager.local_reply.is_some();
        if let Some(table) = &routes {
            keeps_headers |= table.has_response_formats();
            crate::manager::merge(&mut request_fields, table.response_format_fields());
        }
        if manager.config.always_set_request_id_in_response {
            keeps_headers = true;
            crate::manager::merge(&mut request_fields, &[names::X_REQUEST_ID]);
        }
        Self {
            manager,
            routes,
            certificate,
            keeps_headers,
            request_fields,
        }
    }

    /// The same with the newest route table.
    pub(crate) fn with_newest_routes(&self, info: &ConnectionInfo) -> Self {
        Self::new(self.manager.clone(), info)
    }

    fn has_newest_routes(&self) -> bool {
        match &self.manager.routes {
            Routes::Inline(_) => true,
            Routes::Discovered(slot) => match (&*slot.load(), &self.routes) {
                (Some(newest), Some(known)) => Arc::ptr_eq(newest, known),
                (None, None) => true,
                _ => false,
            },
        }
    }
}
