//! Logs that a service takes over gRPC: what an entry says, and entries on their way there.
//!
//! In: records. Out: batches of encoded entries, which `meltemi-http` delivers.

mod entry;
mod open_telemetry;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::{REFERER, USER_AGENT};
use meltemi_ir::{LogEntries, LogService};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use self::open_telemetry::Template;
use super::{FormatError, RecordFields};
use crate::StreamRecord;

/// Entries beyond so many bytes that wait are dropped: a service that does not answer must not fill the
/// memory.
const MOST_BYTES: usize = 4 << 20;

/// One log to a service, compiled.
#[derive(Debug)]
pub(super) struct ServiceLog {
    service: Arc<LogService>,
    /// What OpenTelemetry's records are made of.
    template: Option<Template>,
    fields: RecordFields,
}

/// One worker's entries on their way to services.
#[derive(Debug, Default)]
pub(super) struct ServiceBuffers(RefCell<Vec<ServiceBuffer>>);

#[derive(Debug)]
struct ServiceBuffer {
    service: Arc<LogService>,
    entries: Vec<u8>,
    count: u64,
    /// How many found no room.
    dropped: u64,
    /// How long the first of them has waited.
    age: Duration,
}

/// Entries for one service, encoded.
#[derive(Debug)]
pub struct LogBatch {
    /// Where they go.
    pub service: Arc<LogService>,
    /// How many there are.
    pub count: u64,
    /// How many more there were, for which there was no room.
    pub dropped: u64,
    entries: Vec<u8>,
}

/// Who sends a batch.
#[derive(Clone, Copy, Debug)]
pub struct LogSource<'a> {
    /// `node.id`.
    pub node: &'a str,
    /// `node.cluster`.
    pub cluster: &'a str,
}

impl ServiceLog {
    pub(super) fn new(service: &Arc<LogService>) -> Result<Self, FormatError> {
        let mut fields = RecordFields::default();
        let mut template = None;
        match &service.entries {
            LogEntries::Http {
                request_headers,
                response_headers,
                response_trailers,
            } => {
                fields.wire_bytes = true;
                fields.request_headers = entry::USUAL.to_vec();
                fields.request_headers.extend([USER_AGENT, REFERER]);
                fields.request_headers.extend_from_slice(request_headers);
                fields.response_headers.clone_from(response_headers);
                fields.response_trailers.clone_from(response_trailers);
            }
            LogEntries::Tcp => {}
            LogEntries::OpenTelemetry {
                body, attributes, ..
            } => {
                let made = Template::new(body.as_ref(), attributes)?;
                fields = made.fields();
                template = Some(made);
            }
        }
        Ok(Self {
            service: service.clone(),
            template,
            fields,
        })
    }

    pub(super) fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Adds an entry to the worker's buffer.
    pub(super) fn log(&self, buffers: &ServiceBuffers, record: &StreamRecord<'_>) {
        let mut buffers = buffers.0.borrow_mut();
        let at = buffers
            .iter()
            .position(|it| Arc::ptr_eq(&it.service, &self.service));
        let at = at.unwrap_or_else(|| {
            buffers.push(ServiceBuffer::new(self.service.clone()));
            buffers.len() - 1
        });
        let buffer = &mut buffers[at];
        if buffer.entries.len() > MOST_BYTES {
            buffer.dropped += 1;
            return;
        }
        buffer.count += 1;
        match &self.service.entries {
            LogEntries::Http {
                request_headers,
                response_headers,
                response_trailers,
            } => {
                let told = entry::Told {
                    request_headers,
                    response_headers,
                    response_trailers,
                };
                part(1, &entry::http(record, &told), &mut buffer.entries);
            }
            LogEntries::Tcp => part(1, &entry::tcp(record), &mut buffer.entries),
            LogEntries::OpenTelemetry { .. } => {
                if let Some(template) = &self.template {
                    part(2, &template.record(record), &mut buffer.entries);
                }
            }
        }
    }
}

impl ServiceBuffer {
    fn new(service: Arc<LogService>) -> Self {
        Self {
            service,
            entries: Vec::new(),
            count: 0,
            dropped: 0,
            age: Duration::ZERO,
        }
    }

    fn take(&mut self) -> LogBatch {
        self.age = Duration::ZERO;
        LogBatch {
            service: self.service.clone(),
            count: std::mem::take(&mut self.count),
            dropped: std::mem::take(&mut self.dropped),
            entries: std::mem::take(&mut self.entries),
        }
    }
}

impl ServiceBuffers {
    /// What waits no longer, now that so much time has passed since the last call.
    pub(super) fn take_due(&self, passed: Duration) -> Vec<LogBatch> {
        let mut buffers = self.0.borrow_mut();
        let mut due = Vec::new();
        buffers.retain_mut(|buffer| {
            if buffer.count == 0 {
                // A log that is gone needs no buffer.
                return Arc::strong_count(&buffer.service) > 1;
            }
            buffer.age = buffer.age.saturating_add(passed);
            let is_full = buffer.entries.len() >= buffer.service.buffer_size as usize;
            if is_full || buffer.age >= buffer.service.flush_interval {
                due.push(buffer.take());
            }
            true
        });
        due
    }
}

impl LogBatch {
    /// The method that takes it.
    pub fn path(&self) -> &'static str {
        match &self.service.entries {
            LogEntries::Http { .. } | LogEntries::Tcp => {
                "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
            }
            LogEntries::OpenTelemetry { .. } => {
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
            }
        }
    }

    /// The message: `StreamAccessLogsMessage`, or `ExportLogsServiceRequest`.
    pub fn message(&self, source: LogSource<'_>) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.entries.len() + 256);
        match &self.service.entries {
            LogEntries::Http { .. } => {
                part(
                    1,
                    &entry::identifier(&self.service.name, source),
                    &mut message,
                );
                bytes(2, &self.entries, &mut message);
            }
            LogEntries::Tcp => {
                part(
                    1,
                    &entry::identifier(&self.service.name, source),
                    &mut message,
                );
                bytes(3, &self.entries, &mut message);
            }
            LogEntries::OpenTelemetry {
                resource,
                names_node,
                ..
            } => {
                let name = names_node.then_some((self.service.name.as_str(), source));
                let mut of_resource = Vec::new();
                part(
                    1,
                    &open_telemetry::resource(resource, name),
                    &mut of_resource,
                );
                bytes(2, &self.entries, &mut of_resource);
                bytes(1, &of_resource, &mut message);
            }
        }
        message
    }
}

/// Appends a field that is a message.
fn part(tag: u32, message: &impl Message, out: &mut Vec<u8>) {
    bytes(tag, &message.encode_to_vec(), out);
}

/// Appends a field that is a message, encoded.
fn bytes(tag: u32, encoded: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(encoded.len() as u64, out);
    out.extend_from_slice(encoded);
}

/// The headers among these that a record has.
fn among<'h>(
    headers: Option<&'h http::HeaderMap>,
    names: &'h [HeaderName],
) -> impl Iterator<Item = (String, String)> + 'h {
    names.iter().filter_map(move |name| {
        let values = headers?.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!values.is_empty()).then(|| (name.to_string(), values.join(",")))
    })
}
