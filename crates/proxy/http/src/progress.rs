//! Lines that are logged before a request has ended: when it begins, from time to time, and when it
//! has become a tunnel (`access_log_options`).
//!
//! In: the stream. Out: lines. Called where each of these comes to pass.

use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::head::RequestHead;
use crate::stream::Stream;

/// A request has come, and its route is known.
pub(crate) fn begun(stream: &Rc<Stream>, head: &RequestHead) {
    let moments = &stream.settings.manager.config.log_moments;
    if moments.on_request {
        log(stream, "DownstreamStart", Some(head));
    }
    if let Some(every) = moments.every {
        tokio::task::spawn_local(repeat(Rc::downgrade(stream), every));
    }
}

/// Client and upstream have agreed on a tunnel.
pub(crate) fn tunnelled(stream: &Rc<Stream>) {
    if stream.settings.manager.config.log_moments.on_tunnel {
        log(stream, "DownstreamTunnelSuccessfullyEstablished", None);
    }
}

/// Logs the stream as long as there is one.
async fn repeat(stream: Weak<Stream>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match stream.upgrade() {
            Some(stream) => log(&stream, "DownstreamPeriodic", None),
            None => return,
        }
    }
}

fn log(stream: &Stream, log_type: &'static str, head: Option<&RequestHead>) {
    stream.with_record(None, head, None, |record| {
        let mut record = record.clone();
        record.log_type = Some(log_type);
        for log in &stream.settings.manager.logs {
            log.log(&stream.connection.worker.logs, &record);
        }
    });
}
