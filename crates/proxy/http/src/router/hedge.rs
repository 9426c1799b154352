//! Tries beside each other: one that takes too long goes on while the next one is made, and the
//! first good response of any is taken (`hedge_on_per_try_timeout`).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use meltemi_upstream::{ResponseBody, RetryGuard, WorkerHost};
use tokio::time::{Instant, sleep_until};

use super::reply::LocalReply;
use super::retry::{Failure, TriedPriorities};
use super::{Forwarding, Next};
use crate::deadline::{Deadlines, Expired};

/// A try that has ended.
struct Done {
    number: u32,
    host: Rc<WorkerHost>,
    part: Forwarding,
    result: Result<Response<ResponseBody>, Failure>,
}

/// Tries in flight.
#[derive(Default)]
struct Tries(Vec<Pin<Box<dyn Future<Output = Done>>>>);

/// What is waited for.
enum Event {
    Done(Box<Done>),
    /// The next try may begin.
    Due,
}

impl Forwarding {
    /// Tries until there is a response, or an end to trying.
    pub(super) async fn run_hedged(
        &mut self,
        deadlines: &mut Deadlines,
    ) -> Result<Response<ResponseBody>, Box<LocalReply>> {
        let stream = self.stream.clone();
        let mut tries = Tries::default();
        let mut guards: Vec<RetryGuard> = Vec::new();
        let mut latest = self.launch(&mut tries, deadlines)?;
        // tries up to this number have another beside them or after them
        let mut followed = 0;
        let mut next: Option<Instant> = None;
        loop {
            let waited = async {
                tokio::select! {
                    biased;
                    done = tries.next() => Event::Done(Box::new(done)),
                    () = until(next) => Event::Due,
                }
            };
            match deadlines.race(&stream, waited).await {
                Ok(Event::Due) => {
                    next = None;
                    latest = self.launch(&mut tries, deadlines)?;
                }
                Err(Expired::PerTry) => {
                    self.timed_out = true;
                    deadlines.per_try = None;
                    deadlines.changed(&stream);
                    latest.record_timeout();
                    latest.report(self.timeout_outcome());
                    if followed < self.attempts
                        && let Next::Again(pause, guard) = self.decide(true, None)
                    {
                        followed = self.attempts;
                        guards.push(guard);
                        next = Some(Instant::now() + pause);
                    }
                }
                Err(expired) => return self.judge(&latest, Err(expired)).and_then(|it| it.1),
                Ok(Event::Done(done)) => {
                    let alone = tries.0.is_empty() && next.is_none();
                    match self.settle(*done, followed, alone)? {
                        Settled::Taken(response) => return self.over(response),
                        Settled::Ignored => {}
                        Settled::Again(pause, guard) => {
                            followed = self.attempts;
                            guards.push(guard);
                            next = Some(Instant::now() + pause);
                        }
                    }
                }
            }
        }
    }

    /// Begins a try.
    fn launch(
        &mut self,
        tries: &mut Tries,
        deadlines: &mut Deadlines,
    ) -> Result<Rc<WorkerHost>, Box<LocalReply>> {
        let Some(host) = self.choose() else {
            return Err(self.no_host());
        };
        let spare = self.head_for(&host);
        self.limit(deadlines);
        let number = self.attempts;
        let mut part = self.part();
        self.head = spare.map(|spare| *spare);
        let to = host.clone();
        tries.0.push(Box::pin(async move {
            let result = part.attempt(&to).await;
            Done {
                number,
                host: to,
                part,
                result,
            }
        }));
        Ok(host)
    }

    /// What one try needs of the whole.
    fn part(&mut self) -> Self {
        let body = self.body.share();
        Self {
            stream: self.stream.clone(),
            index: self.index,
            cluster: self.cluster.clone(),
            head: self.head.take(),
            body: body.unwrap_or_else(|| {
                // the one try that there can be
                std::mem::replace(&mut self.body, crate::request_body::RequestBody::Once(None))
            }),
            retry: None,
            tried: Vec::new(),
            tried_priorities: TriedPriorities::default(),
            guard: None,
            attempts: self.attempts,
            timeouts: self.timeouts,
            started: false,
            count_attempts: self.count_attempts,
            expect: self.expect,
            hash: self.hash,
            hedges: false,
            terminates: self.terminates,
            used: None,
            timed_out: self.timed_out,
        }
    }

    /// What becomes of a try that has ended; `alone` where no other is in flight or to come.
    fn settle(
        &mut self,
        done: Done,
        followed: u32,
        alone: bool,
    ) -> Result<Settled, Box<LocalReply>> {
        let Done {
            number,
            host,
            part,
            result,
        } = done;
        self.started = part.started;
        self.used = part.used;
        self.stream.facts.borrow_mut().host = Some(host.clone());
        self.note_used();
        let unwanted = match &result {
            Ok(response) => self.retry.as_ref().is_some_and(|retry| {
                retry.wants_another(self.policy(), response.status(), response.headers())
            }),
            Err(_) => true,
        };
        // the one after it stands for its retry
        let retry = if number <= followed {
            self.retry.take()
        } else {
            None
        };
        let judged = self.judge(&host, Ok(result));
        if retry.is_some() {
            self.retry = retry;
        }
        let (next, result) = judged?;
        Ok(match next {
            Next::Again(pause, guard) => Settled::Again(pause, guard),
            Next::Over if unwanted && !alone => Settled::Ignored,
            Next::Over => {
                if number > 1 && !unwanted {
                    self.cluster.stats().upstream_rq_retry_success.inc();
                }
                Settled::Taken(result)
            }
        })
    }
}

/// What became of a try.
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
enum Settled {
    /// It is the answer.
    Taken(Result<Response<ResponseBody>, Box<LocalReply>>),
    /// Others are still in flight.
    Ignored,
    /// Another follows.
    Again(Duration, RetryGuard),
}

impl Tries {
    /// The next one to end; never where there is none.
    async fn next(&mut self) -> Done {
        std::future::poll_fn(|cx| {
            for at in 0..self.0.len() {
                if let Poll::Ready(done) = self.0[at].as_mut().poll(cx) {
                    drop(self.0.swap_remove(at));
                    return Poll::Ready(done);
                }
            }
            Poll::Pending
        })
        .await
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
