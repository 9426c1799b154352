//! Access logs: formats compiled once, lines gathered in each worker's buffers, files shared.
//!
//! `meltemi-http` and `meltemi-listener` make an [`AccessLogger`] for every configured log and
//! hand it a [`StreamRecord`] at the end of each stream; the worker flushes its [`LogBuffers`].

mod field;
mod filter;
mod format;
mod metadata;
mod operator;
mod sink;
mod time;

pub use filter::LogFilter;
pub use format::{FormatError, Formatter, RecordFields};
pub use sink::{LogBuffers, LogFiles};

use std::sync::Arc;

use meltemi_ir::AccessLog;

use crate::StreamRecord;
use sink::LogFile;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLogger {
    file: Arc<LogFile>,
    formatter: Formatter,
    filter: LogFilter,
    fields: RecordFields,
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
}

impl AccessLogger {
    /// Compiles the format and opens the file.
    ///
    /// # Errors
    /// When the format or the filter is wrong or the file cannot be opened.
    pub fn new(config: &AccessLog, files: &LogFiles) -> Result<Self, AccessLogError> {
        let AccessLog {
            sink,
            format,
            filter,
        } = config;
        let formatter = Formatter::compile(format)?;
        let filter = LogFilter::new(filter.as_ref())?;
        let mut fields = filter.fields();
        fields.merge(formatter.fields());
        Ok(Self {
            formatter,
            filter,
            fields,
            file: files.open(sink)?,
        })
    }

    /// Which headers a record must hold for this log.
    pub fn fields(&self) -> &RecordFields {
        &self.fields
    }

    /// Adds a line to the worker's buffer, if the filter lets it pass.
    pub fn log(&self, buffers: &LogBuffers, record: &StreamRecord<'_>) {
        if self.filter.passes(record) {
            buffers.append(&self.file, |line| self.formatter.format(record, line));
        }
    }
}

#[cfg(test)]
mod tests;
