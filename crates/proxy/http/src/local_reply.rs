//! How the proxy's own answers are reworded before they go: status, text, headers, by what they
//! are and what was asked.

use bytes::Bytes;
use http::HeaderMap;
use http::header;
use meltemi_ir as ir;
use meltemi_telemetry::{AccessLogError, FormatError, Formatter, LogFilter, RecordFields};

use crate::mutation::{Mutation, MutationError};
use crate::router::reply::LocalReply;
use crate::stream::Stream;

/// The rewording of a connection manager's own answers, compiled.
pub(crate) struct LocalReplies {
    mappers: Vec<Mapper>,
    format: Option<Format>,
    fields: RecordFields,
}

struct Mapper {
    filter: LogFilter,
    config: ir::LocalReplyMapper,
    format: Option<Format>,
    headers: Mutation,
}

struct Format {
    formatter: Formatter,
    content_type: http::HeaderValue,
}

/// Why answers cannot be reworded.
#[derive(Debug, thiserror::Error)]
pub enum LocalReplyError {
    /// A filter is wrong.
    #[error(transparent)]
    Filter(#[from] AccessLogError),
    /// A format is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A header's value is wrong.
    #[error(transparent)]
    Header(#[from] MutationError),
}

impl Format {
    fn new(config: &ir::ReplyFormat) -> Result<Self, FormatError> {
        Ok(Self {
            formatter: Formatter::compile(&config.format)?,
            content_type: config.content_type.clone(),
        })
    }
}

impl LocalReplies {
    /// Compiles the rewording.
    ///
    /// # Errors
    /// When a format or a filter is wrong.
    pub(crate) fn new(config: &ir::LocalReplyConfig) -> Result<Self, LocalReplyError> {
        let mut fields = RecordFields::default();
        let format = config.format.as_ref().map(Format::new).transpose()?;
        let mut mappers = Vec::new();
        for config in &config.mappers {
            let mapper = Mapper {
                filter: LogFilter::new(Some(&config.filter))?,
                format: config.format.as_ref().map(Format::new).transpose()?,
                headers: Mutation::new(&config.headers)?,
                config: config.clone(),
            };
            fields.merge(&mapper.filter.fields());
            if let Some(names) = mapper.headers.format_fields() {
                fields.request_headers.extend(names.cloned());
            }
            mappers.push(mapper);
        }
        let formats = mappers.iter().filter_map(|mapper| mapper.format.as_ref());
        for format in formats.chain(&format) {
            fields.merge(format.formatter.fields());
        }
        Ok(Self {
            mappers,
            format,
            fields,
        })
    }

    /// The headers that a record must hold.
    pub(crate) fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Rewords an answer.
    pub(crate) fn apply(&self, stream: &Stream, reply: &mut LocalReply) {
        stream.facts.borrow_mut().status = Some(reply.status.as_u16());
        let headers = reply.headers.clone();
        let found = stream.with_record(None, None, Some(&headers), |record| {
            let mut mappers = self.mappers.iter();
            mappers.find(|mapper| mapper.filter.passes(record))
        });
        let mut format = self.format.as_ref();
        if let Some(mapper) = found {
            let mut added: HeaderMap = std::mem::take(&mut reply.headers);
            stream.mutate_response(&mapper.headers, reply.status.as_u16(), &mut added);
            reply.headers = added;
            reply.status = mapper.config.status.unwrap_or(reply.status);
            if let Some(body) = &mapper.config.body {
                reply.body = Bytes::copy_from_slice(body.as_bytes());
            }
            format = mapper.format.as_ref().or(format);
        }
        let Some(format) = format else { return };
        stream.facts.borrow_mut().status = Some(reply.status.as_u16());
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let mut body = Vec::new();
        stream.with_record(None, None, Some(&headers), |record| {
            let mut record = record.clone();
            record.local_reply_body = Some(&text);
            format.formatter.format(&record, &mut body);
        });
        reply.body = body.into();
        let kind = format.content_type.clone();
        reply.headers.insert(header::CONTENT_TYPE, kind);
    }
}
