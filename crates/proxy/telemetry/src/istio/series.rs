//! The metrics of one set of label values on one worker.

use std::time::Duration;

use super::labels::Labels;
use crate::registry::{Exposition, Kind, Series};
use crate::{Counter, Histogram, HistogramSnapshot, StatsQuery, StreamRecord, TcpDelta};

/// Metrics of HTTP and gRPC requests.
#[derive(Debug)]
pub(super) struct HttpSeries {
    labels: Labels,
    requests: Counter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

/// Metrics of TCP connections.
#[derive(Debug)]
pub(super) struct TcpSeries {
    labels: Labels,
    pub opened: Counter,
    pub closed: Counter,
    pub sent: Counter,
    pub received: Counter,
}

impl HttpSeries {
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            requests: Counter::default(),
            duration: Histogram::default(),
            request_bytes: Histogram::default(),
            response_bytes: Histogram::default(),
        }
    }

    pub fn request(&self, record: &StreamRecord<'_>) {
        self.requests.inc();
        if let Some(duration) = record.duration {
            self.duration.record(milliseconds(duration));
        }
        self.request_bytes
            .record(record.bytes_received + record.request_header_bytes);
        self.response_bytes
            .record(record.bytes_sent + record.response_header_bytes);
    }

    pub fn expose(&self, exposition: &mut Exposition, query: &StatsQuery) {
        let requests = self.requests.get();
        let name = "istio_requests_total";
        number(
            exposition,
            query,
            Kind::Counter,
            name,
            self.labels.iter(),
            requests,
        );
        for (name, histogram) in [
            ("istio_request_duration_milliseconds", &self.duration),
            ("istio_request_bytes", &self.request_bytes),
            ("istio_response_bytes", &self.response_bytes),
        ] {
            if !query.wants_name(name) {
                continue;
            }
            let mut snapshot = HistogramSnapshot::default();
            histogram.add_to(&mut snapshot);
            let series = Series::Histogram(snapshot);
            exposition.add(Kind::Histogram, name.to_owned(), self.labels.iter(), series);
        }
    }

    pub fn reset(&self) {
        self.requests.reset();
    }
}

impl TcpSeries {
    pub fn new(labels: Labels) -> Self {
        Self {
            labels,
            opened: Counter::default(),
            closed: Counter::default(),
            sent: Counter::default(),
            received: Counter::default(),
        }
    }

    pub fn count(&self, delta: TcpDelta) {
        let TcpDelta {
            opened,
            closed,
            sent,
            received,
        } = delta;
        self.opened.add(opened.into());
        self.closed.add(closed.into());
        self.sent.add(sent);
        self.received.add(received);
    }

    pub fn expose(&self, exposition: &mut Exposition, query: &StatsQuery) {
        for (name, counter) in self.counters() {
            let labels = self.labels.iter();
            number(
                exposition,
                query,
                Kind::Counter,
                name,
                labels,
                counter.get(),
            );
        }
    }

    pub fn reset(&self) {
        self.counters()
            .iter()
            .for_each(|(_, counter)| counter.reset());
    }

    fn counters(&self) -> [(&'static str, &Counter); 4] {
        [
            ("istio_tcp_connections_opened_total", &self.opened),
            ("istio_tcp_connections_closed_total", &self.closed),
            ("istio_tcp_sent_bytes_total", &self.sent),
            ("istio_tcp_received_bytes_total", &self.received),
        ]
    }
}

/// Adds a number, if it is asked for.
pub(super) fn number<'a>(
    exposition: &mut Exposition,
    query: &StatsQuery,
    kind: Kind,
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: u64,
) {
    if query.wants_name(name) {
        exposition.add(kind, name.to_owned(), labels, Series::Number(value));
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
