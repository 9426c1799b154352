//! The log of this program: what `tracing` says, on standard error or in a file.
//!
//! In: a level as Envoy names it. Out: a subscriber, and the control by which the administration
//! endpoint changes it later.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use meltemi_proxy::{LogControl, LogLevel};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Reads a level of the command line.
///
/// # Errors
/// The names that there are.
pub(crate) fn parse_level(name: &str) -> Result<LogLevel, String> {
    let levels = "trace, debug, info, warning, error, critical, off";
    LogLevel::from_name(name).ok_or_else(|| format!("choose one of {levels}"))
}

/// Logs to standard error from now on.
///
/// # Errors
/// When there is a log already.
pub(crate) fn to_stderr(level: LogLevel) -> Result<Arc<LogControl>> {
    let (filter, handle) = reload::Layer::new(LogControl::initial(level));
    let layer = fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .context("the log")?;
    Ok(Arc::new(LogControl::new(level, move |targets| {
        // ignored: the subscriber lives as long as the process
        let _ = handle.reload(targets);
    })))
}

/// Logs to a file from now on.
///
/// # Errors
/// When the file cannot be opened, or there is a log already.
pub(crate) fn to_file(level: LogLevel, path: &Path) -> Result<()> {
    let file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())?;
    let layer = fmt::layer().with_ansi(false).with_writer(Arc::new(file));
    tracing_subscriber::registry()
        .with(LogControl::initial(level))
        .with(layer)
        .try_init()
        .context("the log")
}
