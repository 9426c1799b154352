//! Timers that cost next to nothing while nothing expires.
//!
//! A request has many limits but one timer, taken from a pool of timers that are mostly armed
//! already. A timer is only ever moved when it is needed earlier than it is armed for; where it
//! fires too early, whoever waits finds out by looking at the clock and arms it again.

use std::cell::RefCell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// One worker's timers that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct SleepPool(RefCell<Vec<Pin<Box<Sleep>>>>);

/// A timer on loan from the pool.
#[derive(Debug)]
pub(crate) struct PooledSleep {
    sleep: Option<Pin<Box<Sleep>>>,
    pool: Rc<SleepPool>,
}

const KEPT: usize = 4096;

impl SleepPool {
    /// A timer that fires at `target` or, if that is cheaper, somewhat earlier.
    pub(crate) fn take(self: &Rc<Self>, target: Instant) -> PooledSleep {
        let mut sleep = match self.0.borrow_mut().pop() {
            Some(sleep) => sleep,
            None => Box::pin(sleep_until(target)),
        };
        if sleep.is_elapsed() || sleep.deadline() > target {
            sleep.as_mut().reset(target);
        }
        PooledSleep {
            sleep: Some(sleep),
            pool: self.clone(),
        }
    }
}

impl PooledSleep {
    /// Fires at `target` at the latest.
    pub(crate) fn no_later_than(&mut self, target: Instant) {
        let sleep = self.sleep();
        if sleep.deadline() > target {
            sleep.as_mut().reset(target);
        }
    }

    /// Fires at `target` and not before.
    pub(crate) fn exactly(&mut self, target: Instant) {
        self.sleep().as_mut().reset(target);
    }

    /// Ready when it has fired.
    pub(crate) fn poll_fired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep().as_mut().poll(cx)
    }

    fn sleep(&mut self) -> &mut Pin<Box<Sleep>> {
        self.sleep.as_mut().expect("only dropping takes it away")
    }
}

impl Drop for PooledSleep {
    fn drop(&mut self) {
        let mut pool = self.pool.0.borrow_mut();
        if pool.len() < KEPT {
            pool.extend(self.sleep.take());
        }
    }
}

/// Waits until `target`.
pub(crate) async fn wait_until(pool: &Rc<SleepPool>, target: Instant) {
    let mut sleep = pool.take(target);
    std::future::poll_fn(|cx| {
        while sleep.poll_fired(cx).is_ready() {
            if Instant::now() >= target {
                return Poll::Ready(());
            }
            sleep.exactly(target);
        }
        Poll::Pending
    })
    .await;
}
