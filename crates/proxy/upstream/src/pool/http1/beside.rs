//! A request that is still going out when its response has come.
//!
//! Rarely: an upload that the upstream answers before it has all of it. A task of its own sends the
//! rest, so that it does not wait for whoever reads the response, nor that for it. Whichever of the
//! two ends last gives the connection back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;

use super::{Http1Connection, Http1Lease, give_back};
use crate::http1::Wire;
use crate::pool::HttpPool;
use crate::{ResetReason, WorkerCluster};

/// A connection that two tasks use.
pub(super) struct Beside {
    /// There until the exchange is through, or broken.
    wire: RefCell<Option<Box<Wire>>>,
    /// Where the connection goes after the upload; there once the response is through.
    home: RefCell<Option<Home>>,
    uploader: Cell<Option<Waker>>,
    reader: Cell<Option<Waker>>,
}

type Home = (Http1Connection, Rc<WorkerCluster>, Rc<HttpPool>);

/// What is next of a body, and whether it is the last.
pub(super) type FrameAndEnd = (Option<Result<Frame<Bytes>, ResetReason>>, bool);

impl Beside {
    /// Sends the rest of a request in a task of its own.
    pub(super) fn upload(wire: Box<Wire>) -> Rc<Self> {
        let beside = Rc::new(Self {
            wire: RefCell::new(Some(wire)),
            home: RefCell::default(),
            uploader: Cell::default(),
            reader: Cell::default(),
        });
        let shared = Rc::clone(&beside);
        tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| shared.poll_upload(cx)).await;
            // Over before the response, the reader gives the connection back.
            let home = shared.home.take();
            if let Some((connection, cluster, pool)) = home
                && let Some(wire) = shared.wire.take()
            {
                give_back(connection, &cluster, &pool, wire);
            }
        });
        beside
    }

    fn poll_upload(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut place = self.wire.borrow_mut();
        let Some(wire) = place.as_mut() else {
            return Poll::Ready(());
        };
        match wire.poll_upload(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(()),
            Poll::Ready(Err(ResetReason::RequestBody(_))) => *place = None,
            // What the upstream still says is heard.
            Poll::Ready(Err(_)) => wire.give_up_upload(),
            Poll::Pending => {
                let is_read = self.home.borrow().is_some();
                if !is_read || wire.is_quiet(cx) {
                    self.uploader.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                *place = None;
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(())
    }

    /// The next of the response's body.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<FrameAndEnd> {
        let mut place = self.wire.borrow_mut();
        let Some(wire) = place.as_mut() else {
            return Poll::Ready((Some(Err(ResetReason::ConnectionTermination)), true));
        };
        match wire.poll_body(cx) {
            Poll::Ready(frame) => Poll::Ready((frame, wire.is_read())),
            Poll::Pending => {
                self.reader.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// How much of the response's body is to come, where that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        self.wire
            .borrow()
            .as_ref()
            .map_or(Some(0), |wire| wire.body_left())
    }

    /// The response is through, or given up.
    pub(super) fn end(&self, lease: Http1Lease, is_whole: bool) {
        let wire = self.wire.take();
        if let Some(mut wire) = wire
            && is_whole
            && wire.skip_body()
        {
            if wire.is_sent() {
                lease.give_back(wire);
            } else {
                *self.wire.borrow_mut() = Some(wire);
                *self.home.borrow_mut() = Some(lease.home());
            }
        }
        if let Some(uploader) = self.uploader.take() {
            uploader.wake();
        }
    }
}
