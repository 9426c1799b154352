//! Where lines go: files shared by all workers, and each worker's buffers before them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meltemi_ir::LogSink;

use super::AccessLogError;
use super::service::{LogBatch, ServiceBuffers};

/// The files of all access logs, each opened once. Shared by the whole process.
#[derive(Debug, Default)]
pub struct LogFiles(Mutex<HashMap<LogSink, Arc<LogFile>>>);

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    /// Position in every worker's buffers.
    index: usize,
    target: Mutex<Target>,
}

#[derive(Debug)]
enum Target {
    File { path: PathBuf, file: File },
    Stdout,
    Stderr,
}

/// One worker's lines on their way to the files. Not shared: the request path takes no lock.
#[derive(Debug, Default)]
pub struct LogBuffers {
    files: RefCell<Vec<Option<Buffer>>>,
    services: ServiceBuffers,
}

#[derive(Debug)]
struct Buffer {
    file: Arc<LogFile>,
    lines: Vec<u8>,
}

/// A buffer that has grown beyond this is written at once, as Envoy does.
const FLUSH_AT: usize = 64 << 10;

impl LogFiles {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn open(&self, sink: &LogSink) -> Result<Arc<LogFile>, AccessLogError> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(sink) {
            return Ok(file.clone());
        }
        let target = match sink {
            LogSink::Stdout => Target::Stdout,
            LogSink::Stderr => Target::Stderr,
            LogSink::File(path) => Target::File {
                path: path.clone(),
                file: append_to(path).map_err(|source| AccessLogError::Open {
                    path: path.clone(),
                    source,
                })?,
            },
        };
        let file = Arc::new(LogFile {
            index: files.len(),
            target: Mutex::new(target),
        });
        files.insert(sink.clone(), file.clone());
        Ok(file)
    }

    /// Opens every file anew, after something else moved them away (`/reopen_logs`, `SIGUSR1`).
    ///
    /// # Errors
    /// The first file that cannot be opened; it and the others go on where they are.
    pub fn reopen(&self) -> io::Result<()> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = Ok(());
        for file in files.values() {
            if let Err(error) = file.reopen() {
                result = result.and(Err(error));
            }
        }
        result
    }
}

impl LogFile {
    fn write(&self, lines: &[u8]) {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk or a closed pipe must not stop traffic; the lines are lost.
        let _ = match &mut *target {
            Target::File { file, .. } => file.write_all(lines),
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines).and_then(|()| out.flush())
            }
            Target::Stderr => io::stderr().lock().write_all(lines),
        };
    }

    fn reopen(&self) -> io::Result<()> {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if let Target::File { path, file } = &mut *target {
            *file = append_to(path)?;
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl LogBuffers {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn append(&self, file: &Arc<LogFile>, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.files.borrow_mut();
        if buffers.len() <= file.index {
            buffers.resize_with(file.index + 1, || None);
        }
        let buffer = buffers[file.index].get_or_insert_with(|| Buffer {
            file: file.clone(),
            lines: Vec::new(),
        });
        line(&mut buffer.lines);
        if buffer.lines.len() >= FLUSH_AT {
            buffer.flush();
        }
    }

    pub(super) fn services(&self) -> &ServiceBuffers {
        &self.services
    }

    /// What is to be delivered to services now that so much time has passed since the last call.
    pub fn take_due(&self, passed: Duration) -> Vec<LogBatch> {
        self.services.take_due(passed)
    }

    /// Writes what has gathered; the worker calls this on a timer and at its end.
    pub fn flush(&self) {
        for buffer in self.files.borrow_mut().iter_mut().flatten() {
            buffer.flush();
        }
    }
}

impl Drop for LogBuffers {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Buffer {
    fn flush(&mut self) {
        if !self.lines.is_empty() {
            self.file.write(&self.lines);
            self.lines.clear();
        }
    }
}
