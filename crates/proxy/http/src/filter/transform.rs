//! Changes to bodies and trailers as they pass.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

/// Why a body cannot be changed, so that it is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TransformError(pub(crate) &'static str);

/// A change to one body.
pub(crate) trait BodyTransform {
    /// What becomes of some data; nothing where it is kept for later.
    ///
    /// # Errors
    /// When the body must be broken off.
    fn data(&mut self, data: Bytes) -> Result<Bytes, TransformError>;

    /// What is left at the end: more data, and trailers.
    ///
    /// # Errors
    /// When the body must be broken off.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Rest, TransformError> {
        Ok((Bytes::new(), trailers))
    }
}

/// What is left at a body's end.
pub(crate) type Rest = (Bytes, Option<HeaderMap>);

/// Several changes, one after the other.
pub(crate) struct Pipeline {
    stages: Vec<Box<dyn BodyTransform>>,
    ready: VecDeque<Frame<Bytes>>,
    ended: bool,
}

impl Pipeline {
    /// These changes; none where there are none.
    pub(crate) fn new(stages: Vec<Box<dyn BodyTransform>>) -> Option<Box<Self>> {
        (!stages.is_empty()).then(|| {
            Box::new(Self {
                stages,
                ready: VecDeque::new(),
                ended: false,
            })
        })
    }

    /// Adds a change after all others.
    pub(crate) fn add(&mut self, stage: Box<dyn BodyTransform>) {
        self.stages.push(stage);
    }

    /// What is ready to go on.
    pub(crate) fn pop(&mut self) -> Option<Frame<Bytes>> {
        self.ready.pop_front()
    }

    /// Whether all has gone on.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.ready.is_empty()
    }

    /// Whether the end has come in.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes what comes; none is the end.
    pub(crate) fn push(&mut self, frame: Option<Frame<Bytes>>) -> Result<(), TransformError> {
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                let data = self.through(0, data)?;
                self.give(data);
                Ok(())
            }
            Some(Err(frame)) => self.finish(frame.into_trailers().ok()),
            None => self.finish(None),
        }
    }

    /// The whole of a body at once.
    pub(crate) fn whole(mut self, body: Bytes) -> Result<Rest, TransformError> {
        let mut all = self.through(0, body)?.to_vec();
        self.finish(None)?;
        let mut trailers = None;
        while let Some(frame) = self.pop() {
            match frame.into_data() {
                Ok(data) => all.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok((all.into(), trailers))
    }

    fn through(&mut self, from: usize, mut data: Bytes) -> Result<Bytes, TransformError> {
        for stage in &mut self.stages[from..] {
            if data.is_empty() {
                break;
            }
            data = stage.data(data)?;
        }
        Ok(data)
    }

    fn finish(&mut self, mut trailers: Option<HeaderMap>) -> Result<(), TransformError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        for at in 0..self.stages.len() {
            let (data, left) = self.stages[at].end(trailers)?;
            trailers = left;
            let data = self.through(at + 1, data)?;
            self.give(data);
        }
        if let Some(trailers) = trailers {
            self.ready.push_back(Frame::trailers(trailers));
        }
        Ok(())
    }

    fn give(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.ready.push_back(Frame::data(data));
        }
    }
}
