//! Watches one connection for what happens seldom: a drain, idleness, old age, a request head
//! that does not end. A task of its own, so that the connection's task need not look at any of
//! it when a request comes.

use std::rc::{Rc, Weak};
use std::time::Duration;

use meltemi_ir as ir;
use meltemi_lifecycle::DrainSignal;
use meltemi_telemetry::HttpStats;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::connection::{Connection, Ending};

/// Ends the watch when dropped.
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the watcher found.
enum Found {
    Drain(Duration),
    Time,
    Change,
}

/// How long a connection of HTTP/1 that drains with its listener waits for another request.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Begins to watch.
pub(super) fn start(connection: &Rc<Connection>, drain: DrainSignal) -> Watch {
    let connection = Rc::downgrade(connection);
    Watch(tokio::task::spawn_local(watch(connection, drain)))
}

async fn watch(connection: Weak<Connection>, mut drain: DrainSignal) {
    let mut told = false;
    // over which time connections drain, and when in it this one does
    let mut over: Option<Duration> = None;
    let mut turn: Option<Instant> = None;
    // until when a connection that drains is served
    let mut last: Option<Instant> = None;
    loop {
        let Some(strong) = connection.upgrade() else {
            return;
        };
        if strong.ending() == Ending::Draining && last.is_none() {
            let timeout = strong.with_manager(|manager, _| manager.config.drain_timeout);
            last = Some(Instant::now() + timeout);
        }
        let limits = next(&strong);
        let wake = limits.into_iter().chain(last).chain(turn).min();
        let change = strong.clone();
        drop(strong);
        let found = tokio::select! {
            over = drain.draining_over(over), if !told => Found::Drain(over),
            () = at(wake) => Found::Time,
            () = change.watch.notified() => Found::Change,
        };
        let now = Instant::now();
        let found = match found {
            Found::Drain(time) => {
                over = Some(time);
                turn = Some(now + share(&change, time));
                Found::Time
            }
            other => other,
        };
        match found {
            _ if turn.is_some_and(|turn| turn <= now) => {
                turn = None;
                told = true;
                if change.ending() == Ending::Open {
                    change.with_manager(|_, stats| stats.downstream_cx_drain_close.inc());
                    // A request may be on its way: it is answered, and the answer says that it was
                    // the last. Closing under it would lose it.
                    change.end(Ending::Draining);
                    if !change.is_http2() {
                        last = Some(now + LAST_REQUEST);
                    }
                }
            }
            Found::Time if last.is_some_and(|last| last <= now) => {
                change.end(Ending::Graceful);
                return;
            }
            Found::Time => {
                if let Some(ending) = due(&change, now) {
                    change.end(ending);
                    if ending != Ending::Draining {
                        return;
                    }
                }
            }
            Found::Change | Found::Drain(_) => {}
        }
    }
}

/// How much of the time over which connections drain passes before this one does: each has its turn
/// by chance.
fn share(connection: &Connection, over: Duration) -> Duration {
    match u64::try_from(over.as_millis()) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(most) => Duration::from_millis(connection.worker.random.below(most)),
    }
}

async fn at(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// The limits on a connection, each with when it is reached if nothing happens until then.
fn limits(connection: &Connection) -> [Option<(Instant, Limit)>; 3] {
    connection.with_manager(|manager, _| {
        let config: &ir::HttpConnectionManager = &manager.config;
        let after =
            |from: Instant, limit: Option<Duration>, what| limit.map(|limit| (from + limit, what));
        let idle_since = if connection.active.get() > 0 {
            Instant::now()
        } else {
            connection.idle_since.get()
        };
        let open = connection.ending() == Ending::Open;
        [
            after(idle_since, config.idle_timeout, Limit::Idle).filter(|_| open),
            after(
                connection.opened,
                config.max_connection_duration,
                Limit::Duration,
            )
            .filter(|_| open),
            connection
                .head_began
                .get()
                .and_then(|began| after(began, config.request_headers_timeout, Limit::Head)),
        ]
    })
}

#[derive(Clone, Copy)]
enum Limit {
    Idle,
    Duration,
    Head,
}

fn next(connection: &Connection) -> Option<Instant> {
    let limits = limits(connection);
    limits.into_iter().flatten().map(|(at, _)| at).min()
}

fn due(connection: &Connection, now: Instant) -> Option<Ending> {
    let reached = limits(connection)
        .into_iter()
        .flatten()
        .find(|(at, _)| *at <= now)?
        .1;
    connection.with_manager(|_, stats: &HttpStats| match reached {
        Limit::Idle => stats.downstream_cx_idle_timeout.inc(),
        Limit::Duration => stats.downstream_cx_max_duration_reached.inc(),
        Limit::Head => stats.downstream_rq_header_timeout.inc(),
    });
    Some(match reached {
        // who never said anything has nothing on its way
        Limit::Idle | Limit::Duration if !connection.heard.get() => Ending::Graceful,
        Limit::Idle | Limit::Duration => Ending::Draining,
        Limit::Head => Ending::HeaderTimeout,
    })
}
