//! Access logs: formats compiled once, lines gathered in each worker's buffers, files shared.
//!
//! `meltemi-http` and `meltemi-listener` make an [`AccessLogger`] for every configured log and
//! hand it a [`StreamRecord`] at the end of each stream; the worker flushes its [`LogBuffers`].

mod certificate;
mod expression;
mod field;
mod filter;
mod format;
mod metadata;
mod operator;
mod service;
mod sink;
mod time;

pub use filter::LogFilter;
pub use format::{FormatError, Formatter, RecordFields};
pub use service::{LogBatch, LogSource};
pub use sink::{LogBuffers, LogFiles};

use std::sync::Arc;

use meltemi_ir::{AccessLog, LogOutput};

use crate::StreamRecord;
use service::ServiceLog;
use sink::LogFile;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLogger {
    output: Output,
    filter: LogFilter,
    fields: RecordFields,
}

#[derive(Debug)]
enum Output {
    Lines {
        file: Arc<LogFile>,
        formatter: Box<Formatter>,
    },
    Service(Box<ServiceLog>),
}

/// Why an access log cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The format is wrong.
    #[error("log_format: {0}")]
    Format(#[from] FormatError),
    /// The file cannot be opened.
    #[error("path: cannot open {path}: {source}")]
    Open {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The filter names a flag that does not exist.
    #[error("filter.response_flag_filter.flags: unknown response flag {0:?}")]
    UnknownFlag(String),
    /// The filter's expression is none.
    #[error("filter.extension_filter.typed_config.expression: {0}")]
    Expression(String),
}

impl AccessLogger {
    /// Compiles what is written and opens the file.
    ///
    /// # Errors
    /// When the format or the filter is wrong or the file cannot be opened.
    pub fn new(config: &AccessLog, files: &LogFiles) -> Result<Self, AccessLogError> {
        let AccessLog { output, filter } = config;
        let filter = LogFilter::new(filter.as_ref())?;
        let mut fields = filter.fields();
        let output = match output {
            LogOutput::Lines { sink, format } => {
                let formatter = Formatter::compile(format)?;
                fields.merge(formatter.fields());
                Output::Lines {
                    file: files.open(sink)?,
                    formatter: Box::new(formatter),
                }
            }
            LogOutput::Service(service) => {
                let log = ServiceLog::new(service)?;
                fields.merge(log.fields());
                Output::Service(Box::new(log))
            }
        };
        Ok(Self {
            output,
            filter,
            fields,
        })
    }

    /// Which headers a record must hold for this log.
    pub fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Adds a line, or an entry, to the worker's buffers, if the filter lets it pass.
    pub fn log(&self, buffers: &LogBuffers, record: &StreamRecord<'_>) {
        if !self.filter.passes(record) {
            return;
        }
        match &self.output {
            Output::Lines { file, formatter } => {
                buffers.append(file, |line| formatter.format(record, line));
            }
            Output::Service(log) => log.log(buffers.services(), record),
        }
    }
}

#[cfg(test)]
mod tests;
