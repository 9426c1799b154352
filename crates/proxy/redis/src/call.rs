//! A command that is under way at one upstream or several, and what comes of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::RedisCommandStats;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Command, RedisProxy, Value};

/// An upstream gave something that no command of this kind is answered with.
const PROTOCOL_ERROR: &str = "upstream protocol error";

/// A command under way. The client's connection waits for its answer.
pub(crate) struct Call {
    proxy: Arc<RedisProxy>,
    worker: WorkerId,
    command: Command,
    merge: Merge,
    since: Instant,
    /// Wakes the client's connection.
    wake: Rc<Notify>,
    given_up: Cell<bool>,
    state: RefCell<State>,
}

/// How the parts of an answer become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// There is one.
    Single,
    /// They are elements of an array.
    Gather,
    /// All must be `OK`.
    AllOk,
    /// They are numbers, and added up.
    Sum,
}

#[derive(Default)]
struct State {
    missing: usize,
    parts: Vec<Value>,
    errors: usize,
    sum: i64,
    answer: Option<Value>,
}

/// Whose command is under way.
pub(crate) struct Caller<'a> {
    pub(crate) proxy: &'a Arc<RedisProxy>,
    pub(crate) worker: WorkerId,
    pub(crate) wake: &'a Rc<Notify>,
}

impl Call {
    /// A command of so many parts.
    pub(crate) fn begin(
        caller: &Caller<'_>,
        command: Command,
        merge: Merge,
        parts: usize,
    ) -> Rc<Self> {
        let gathered = if merge == Merge::Gather { parts } else { 0 };
        Rc::new(Self {
            proxy: Arc::clone(caller.proxy),
            worker: caller.worker,
            command,
            merge,
            since: Instant::now(),
            wake: Rc::clone(caller.wake),
            given_up: Cell::new(false),
            state: RefCell::new(State {
                missing: parts,
                parts: vec![Value::Null; gathered],
                ..State::default()
            }),
        })
    }

    /// Takes an answer to one part, or why there is none.
    pub(crate) fn answer(&self, part: usize, answer: Result<Value, &'static str>) {
        let mut state = self.state.borrow_mut();
        let failed = answer.is_err();
        let answer = answer.unwrap_or_else(Value::error);
        match (self.merge, answer) {
            (Merge::Single, answer) => {
                // an error is an answer too; what counts is whether there is one
                state.errors += usize::from(failed);
                state.answer = Some(answer);
            }
            (Merge::Gather, answer) => {
                let answer = match answer {
                    Value::Bulk(_) | Value::Null => answer,
                    Value::Error(_) => {
                        state.errors += 1;
                        answer
                    }
                    Value::Simple(_) | Value::Integer(_) | Value::Array(_) => {
                        state.errors += 1;
                        Value::error(PROTOCOL_ERROR)
                    }
                };
                state.parts[part] = answer;
            }
            (Merge::AllOk, Value::Simple(text)) if *text == *b"OK" => {}
            (Merge::Sum, Value::Integer(number)) => state.sum = state.sum.wrapping_add(number),
            (Merge::AllOk | Merge::Sum, _) => state.errors += 1,
        }
        state.missing -= 1;
        if state.missing > 0 {
            return;
        }
        let stats = self.stats();
        match state.errors {
            0 => stats.success.inc(),
            _ => stats.error.inc(),
        }
        self.record_latency(stats);
        let errors = state.errors;
        let answer = match self.merge {
            Merge::Single => state.answer.take(),
            Merge::Gather => Some(Value::Array(std::mem::take(&mut state.parts))),
            Merge::AllOk | Merge::Sum if errors > 0 => {
                Some(Value::error(format!("finished with {errors} error(s)")))
            }
            Merge::AllOk => Some(Value::Simple(Bytes::from_static(b"OK"))),
            Merge::Sum => Some(Value::Integer(state.sum)),
        };
        state.answer = answer;
        self.wake.notify_one();
    }

    /// Takes the whole answer, once it is there.
    pub(crate) fn take(&self) -> Option<Value> {
        self.state.borrow_mut().answer.take()
    }

    /// Nobody waits any more.
    pub(crate) fn give_up(&self) {
        self.given_up.set(true);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    fn stats(&self) -> &RedisCommandStats {
        let stats = self.proxy.stats.shard(self.worker);
        stats.command.of(self.command.number, self.command.name)
    }

    fn record_latency(&self, stats: &RedisCommandStats) {
        let took = self.since.elapsed();
        let took = match self.proxy.config.latency_in_micros {
            true => took.as_micros(),
            false => took.as_millis(),
        };
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        stats.latency.record(took);
    }
}
