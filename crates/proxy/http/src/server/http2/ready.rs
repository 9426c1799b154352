//! Which parts of a connection of HTTP/2 have something to do: its codec, and each of its
//! streams. All of them are driven by one task, which would else have to ask them all whenever
//! one is woken.
//!
//! In: wakes, from anywhere. Out: the marks that they left, for whoever drives the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// The marks, and the task that looks at them.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    codec: bool,
    /// A bit for each stream.
    streams: Vec<u64>,
    any_stream: bool,
    /// The task looks, or has been woken to do so.
    awake: bool,
    task: Option<Waker>,
}

/// What had something to do.
#[derive(Debug, Default)]
pub(super) struct Marked {
    pub(super) codec: bool,
    streams: Vec<u64>,
}

/// Wakes the codec.
struct CodecWaker(Arc<Ready>);

/// Wakes the stream in one place.
struct StreamWaker {
    ready: Arc<Ready>,
    index: usize,
}

impl Ready {
    /// All begins with the codec.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            codec: true,
            ..State::default()
        })))
    }

    /// What wakes the codec.
    pub(super) fn codec_waker(self: &Arc<Self>) -> Waker {
        Arc::new(CodecWaker(self.clone())).into()
    }

    /// What wakes the stream in this place.
    pub(super) fn stream_waker(self: &Arc<Self>, index: usize) -> Waker {
        let ready = self.clone();
        Arc::new(StreamWaker { ready, index }).into()
    }

    /// The task begins to look.
    pub(super) fn enter(&self, task: &Waker) {
        let mut state = self.state();
        state.awake = true;
        match &mut state.task {
            Some(known) if known.will_wake(task) => {}
            known => *known = Some(task.clone()),
        }
    }

    /// Takes the marks; none where there are none.
    pub(super) fn take(&self, marked: &mut Marked) -> bool {
        let mut state = self.state();
        marked.codec = std::mem::take(&mut state.codec);
        let any = marked.codec || state.any_stream;
        if state.any_stream {
            state.any_stream = false;
            std::mem::swap(&mut state.streams, &mut marked.streams);
        }
        any
    }

    /// The task looks no more, until the next mark.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.awake = false;
        if state.codec || state.any_stream {
            state.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_codec(&self) {
        let mut state = self.state();
        state.codec = true;
        state.wake();
    }

    fn mark_stream(&self, index: usize) {
        let mut state = self.state();
        let (word, bit) = (index / 64, 1 << (index % 64));
        if state.streams.len() <= word {
            state.streams.resize(word + 1, 0);
        }
        state.streams[word] |= bit;
        state.any_stream = true;
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if !self.awake
            && let Some(task) = &self.task
        {
            self.awake = true;
            task.wake_by_ref();
        }
    }
}

impl Marked {
    /// The next stream that had something to do.
    pub(super) fn next_stream(&mut self) -> Option<usize> {
        let word = self.streams.iter().position(|word| *word != 0)?;
        let bits = &mut self.streams[word];
        let bit = bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
        Some(word * 64 + bit)
    }
}

impl Wake for CodecWaker {
    fn wake(self: Arc<Self>) {
        self.0.mark_codec();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.mark_codec();
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.ready.mark_stream(self.index);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.mark_stream(self.index);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_for_all_marks_and_not_while_it_looks() {
        let task = Arc::new(Task::default());
        let woken = || task.0.load(Ordering::Relaxed);
        let ready = Ready::new();
        let mut marked = Marked::default();
        ready.enter(&task.clone().into());
        assert!(ready.take(&mut marked) && marked.codec);
        let wakers: Vec<_> = [0, 63, 64, 200]
            .iter()
            .map(|index| ready.stream_waker(*index))
            .collect();
        wakers.iter().for_each(Waker::wake_by_ref);
        wakers[1].wake_by_ref();
        assert_eq!(woken(), 0);
        assert!(ready.take(&mut marked) && !marked.codec);
        let streams: Vec<_> = std::iter::from_fn(|| marked.next_stream()).collect();
        assert_eq!(streams, [0, 63, 64, 200]);
        assert!(!ready.take(&mut marked));
        ready.leave();
        assert_eq!(woken(), 0);
        wakers[2].wake_by_ref();
        ready.codec_waker().wake();
        assert_eq!(woken(), 1);
        ready.enter(&task.clone().into());
        assert!(ready.take(&mut marked) && marked.codec);
        assert_eq!(marked.next_stream(), Some(64));
        wakers[0].wake_by_ref();
        ready.leave();
        assert_eq!(woken(), 2);
    }
}
