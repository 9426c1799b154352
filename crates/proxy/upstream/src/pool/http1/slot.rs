//! Where a connection lies while it carries no request, and what notices its end there.
//!
//! A socket wakes whoever read from it last in vain. While a request is on the connection that is
//! the request's task. Before the connection is put here it is read from once in the name of its
//! watcher, a task that lives as long as the connection and that nothing wakes but the upstream,
//! and that only while the connection lies here.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use tokio::sync::Notify;

use super::super::{HttpPool, on_end};
use crate::UpstreamStream;
use crate::http1::{Manner, Wire};
use crate::stream::ConnectionDetails;

/// A connection's place.
pub(super) struct Slot {
    wire: RefCell<Option<Box<Wire>>>,
    details: Arc<ConnectionDetails>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    /// The connection is no more, or will be no more when the request it carries is through.
    is_closed: Cell<bool>,
}

/// Wakes the watcher.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

impl Slot {
    /// A place for a new connection, and its watcher.
    pub(super) fn watched(stream: UpstreamStream, manner: Manner, pool: &Rc<HttpPool>) -> Rc<Self> {
        let details = Arc::clone(stream.details());
        let bell = Arc::new(Bell(Notify::new()));
        let slot = Rc::new(Self {
            wire: RefCell::new(Some(Box::new(Wire::new(stream, manner)))),
            details,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            is_closed: Cell::new(false),
        });
        slot.look();
        tokio::task::spawn_local(watch(Rc::clone(&slot), Rc::downgrade(pool)));
        slot
    }

    pub(super) fn details(&self) -> &Arc<ConnectionDetails> {
        &self.details
    }

    /// Whether the connection lies here, as far as is known.
    #[inline]
    pub(super) fn is_occupied(&self) -> bool {
        self.wire.borrow().is_some()
    }

    /// The connection, if the upstream has left it alone.
    #[inline]
    pub(super) fn take_quiet(&self) -> Option<Box<Wire>> {
        self.look();
        self.wire.borrow_mut().take()
    }

    /// Puts the connection here. Says whether it stays; otherwise it is closed.
    #[inline]
    pub(super) fn put(&self, mut wire: Box<Wire>) -> bool {
        wire.rest();
        *self.wire.borrow_mut() = Some(wire);
        self.look();
        self.is_occupied()
    }

    /// Closes the connection, now or when the request it carries is given up.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        *self.wire.borrow_mut() = None;
        self.bell.0.notify_one();
    }

    /// Closes a connection here that the upstream has not left alone. The watcher is told of what
    /// happens later.
    #[inline]
    fn look(&self) {
        let mut place = self.wire.borrow_mut();
        let Some(wire) = place.as_mut() else {
            return;
        };
        if !wire.is_quiet(&mut Context::from_waker(&self.waker)) {
            *place = None;
            self.is_closed.set(true);
            self.bell.0.notify_one();
        }
    }
}

/// Looks at the connection whenever the bell rings, until it is no more.
async fn watch(slot: Rc<Slot>, pool: Weak<HttpPool>) {
    while !slot.is_closed.get() {
        slot.bell.0.notified().await;
        slot.look();
    }
    drop(slot);
    on_end(&pool);
}
