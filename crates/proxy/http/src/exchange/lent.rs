//! Memory for requests on their way upstream, used again: it is more than the allocator hands out
//! quickly.
//!
//! In: a future. Out: the same where it can be polled; its memory goes back when it is dropped.

use std::any::Any;
use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// So many are kept for later.
const KEPT: usize = 128;

/// A worker's memory for one type of futures: that of the first which is lent.
#[derive(Default)]
pub(crate) struct Lender(OnceCell<Rc<dyn Any>>);

type Slot<F> = Pin<Box<Option<F>>>;

/// What is free.
struct Slots<F>(RefCell<Vec<Slot<F>>>);

/// A future in memory that is used again.
pub(crate) struct Lent<F> {
    /// There until it is dropped.
    slot: Option<Slot<F>>,
    home: Option<Rc<Slots<F>>>,
}

impl Lender {
    /// Finds a place for a future.
    pub(super) fn lend<F: Future + 'static>(&self, future: F) -> Lent<F> {
        let slots = self.0.get_or_init(|| Rc::new(Slots::<F>::new()));
        let home = slots.clone().downcast::<Slots<F>>().ok();
        let free = home.as_ref().and_then(|home| home.0.borrow_mut().pop());
        let slot = match free {
            Some(mut slot) => {
                slot.set(Some(future));
                slot
            }
            None => Box::pin(Some(future)),
        };
        Lent {
            slot: Some(slot),
            home,
        }
    }
}

impl<F> Slots<F> {
    fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

impl<F: Future> Future for Lent<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let slot = self.slot.as_mut().and_then(|it| it.as_mut().as_pin_mut());
        slot.expect("it is there until it is dropped").poll(cx)
    }
}

impl<F> Drop for Lent<F> {
    fn drop(&mut self) {
        let Some((mut slot, home)) = self.slot.take().zip(self.home.take()) else {
            return;
        };
        slot.set(None);
        let mut free = home.0.borrow_mut();
        if free.len() < KEPT {
            free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::task::Waker;

    use super::*;

    #[test]
    fn memory_is_used_again_and_what_lay_in_it_is_gone() {
        let lender = Lender::default();
        let alive = Rc::new(());
        let make = || {
            let alive = alive.clone();
            async move { Rc::strong_count(&alive) }
        };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            let mut lent: Vec<_> = (0..KEPT + 2).map(|_| lender.lend(make())).collect();
            assert_eq!(Rc::strong_count(&alive), KEPT + 3);
            let first = Pin::new(&mut lent[0]).poll(&mut cx);
            assert_eq!(first, Poll::Ready(KEPT + 3));
            drop(lent);
            assert_eq!(Rc::strong_count(&alive), 1);
        }
        // another type is served, too
        let mut other = lender.lend(async { 7 });
        assert_eq!(Pin::new(&mut other).poll(&mut cx), Poll::Ready(7));
    }
}
