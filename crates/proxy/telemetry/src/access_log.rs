//! Access logs: formats compiled once, lines gathered in each worker's buffers, files shared.
//!
//! `meltemi-http` and `meltemi-listener` make an [`AccessLogger`] for every configured log and
//! hand it a [`StreamRecord`] at the end of each stream; the worker flushes its [`LogBuffers`].

mod field;
mod format;
mod metadata;
mod operator;
mod sink;
mod time;

pub use format::{FormatError, Formatter, RecordFields};
pub use sink::{LogBuffers, LogFiles};

use std::sync::Arc;

use meltemi_ir::{AccessLog, AccessLogFilter, LogFormat};

use crate::{ResponseFlags, StreamRecord};
use sink::LogFile;

/// One configured access log.
#[derive(Debug)]
pub struct AccessLogger {
    file: Arc<LogFile>,
    formatter: Formatter,
    filter: Filter,
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

#[derive(Debug)]
enum Filter {
    All,
    AnyFlag,
    Flags(ResponseFlags),
    NotHealthCheck,
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
        let formatter = match format {
            LogFormat::Default => Formatter::default_line(),
            LogFormat::Text(text) => Formatter::parse(text)?,
            LogFormat::Json(value) => Formatter::parse_json(value)?,
        };
        Ok(Self {
            formatter,
            filter: Filter::new(filter.as_ref())?,
            file: files.open(sink)?,
        })
    }

    /// Which headers a record must hold for this log.
    pub fn fields(&self) -> &RecordFields {
        self.formatter.fields()
    }

    /// Adds a line to the worker's buffer, if the filter lets it pass.
    pub fn log(&self, buffers: &LogBuffers, record: &StreamRecord<'_>) {
        if self.filter.passes(record) {
            buffers.append(&self.file, |line| self.formatter.format(record, line));
        }
    }
}

impl Filter {
    fn new(config: Option<&AccessLogFilter>) -> Result<Self, AccessLogError> {
        Ok(match config {
            None => Self::All,
            Some(AccessLogFilter::NotHealthCheck) => Self::NotHealthCheck,
            Some(AccessLogFilter::ResponseFlags(names)) if names.is_empty() => Self::AnyFlag,
            Some(AccessLogFilter::ResponseFlags(names)) => {
                let mut flags = ResponseFlags::NONE;
                for name in names {
                    flags |= ResponseFlags::from_short(name)
                        .ok_or_else(|| AccessLogError::UnknownFlag(name.clone()))?;
                }
                Self::Flags(flags)
            }
        })
    }

    fn passes(&self, record: &StreamRecord<'_>) -> bool {
        match self {
            Self::All => true,
            Self::AnyFlag => !record.flags.is_empty(),
            Self::Flags(flags) => record.flags.intersects(*flags),
            Self::NotHealthCheck => !record.health_check,
        }
    }
}

#[cfg(test)]
mod tests;
