//! A program under test: started, its output kept, waited upon, signalled, and ended for certain.
//!
//! Every call blocks its thread; the program runs in a process group of its own, which is killed
//! as a whole when the handle is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(10);

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
}

/// Which stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why waiting on a program failed; each shows what the program wrote.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("{name} cannot be started: {source}")]
    Start {
        /// The program.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended while the test waited for something else.
    #[error("{name} ended ({status}) before {awaited}; it wrote:\n{output}")]
    Ended {
        /// The program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// What the test waited for.
        awaited: String,
        /// All it wrote.
        output: String,
    },
    /// The time was up.
    #[error("{name}: no {awaited} within {within:?}; it wrote:\n{output}")]
    TimedOut {
        /// The program.
        name: String,
        /// What the test waited for.
        awaited: String,
        /// How long it waited.
        within: Duration,
        /// All it wrote.
        output: String,
    },
    /// The system refused to signal it or to tell how it does.
    #[error("{name}: {source}")]
    System {
        /// The program.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<(Output, String)>>,
    grown: Condvar,
}

impl Process {
    /// Starts a program with its output captured and no input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self, ProcessError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| ProcessError::Start {
                name: name.clone(),
                source,
            })?;
        let log = Arc::new(Log::default());
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, Output::Stdout, Arc::clone(&log));
        }
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, Output::Stderr, Arc::clone(&log));
        }
        Ok(Self { name, child, log })
    }

    /// Its process id, which is also its group's.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines written so far to one stream.
    #[must_use]
    pub fn lines(&self, stream: Output) -> Vec<String> {
        let lines = self.log.lines();
        lines
            .iter()
            .filter(|(of, _)| *of == stream)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// All that was written so far, both streams in the order they were read.
    #[must_use]
    pub fn output(&self) -> String {
        let lines = self.log.lines();
        lines
            .iter()
            .map(|(_, line)| line.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits for a line, on either stream, written already or to come, that `wanted` accepts.
    ///
    /// # Errors
    /// When none comes in time, or the program ends without it.
    pub fn wait_for_line<F>(&mut self, within: Duration, wanted: F) -> Result<String, ProcessError>
    where
        F: Fn(&str) -> bool,
    {
        let deadline = now() + within;
        let mut seen = 0;
        let mut ended = None;
        loop {
            let mut lines = self.log.lines();
            if lines.len() == seen && ended.is_none() {
                lines = self.log.wait(lines, POLL);
            }
            if let Some((_, line)) = lines[seen..].iter().find(|(_, line)| wanted(line)) {
                return Ok(line.clone());
            }
            let grew = lines.len() > seen;
            seen = lines.len();
            drop(lines);
            match ended {
                Some(status) if !grew => return Err(self.ended(status, "the line")),
                Some(_) => {}
                None => {
                    ended = self.status()?;
                    if ended.is_some() {
                        // its last lines may still be on their way through the pipe
                        std::thread::sleep(POLL * 5);
                    }
                }
            }
            if now() >= deadline {
                return Err(self.timed_out("such line", within));
            }
        }
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Errors
    /// As [`Process::wait_for_line`].
    pub fn wait_for_text(&mut self, within: Duration, text: &str) -> Result<String, ProcessError> {
        self.wait_for_line(within, |line| line.contains(text))
    }

    /// Waits until `GET path` on `address` answers 200.
    ///
    /// # Errors
    /// When it does not in time, or the program ends first.
    pub fn wait_for_http(
        &mut self,
        within: Duration,
        address: SocketAddr,
        path: &str,
    ) -> Result<(), ProcessError> {
        let awaited = format!("200 from http://{address}{path}");
        let deadline = now() + within;
        while !matches!(get_status(address, path), Ok(200)) {
            if let Some(status) = self.status()? {
                return Err(self.ended(status, &awaited));
            }
            if now() >= deadline {
                return Err(self.timed_out(&awaited, within));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Sends a signal to the program alone, not to its group.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        kill(self.pid(), signal).map_err(|errno| self.system(errno.into()))
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let status = self.child.try_wait();
        status.map_err(|source| self.system(source))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let deadline = now() + within;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if now() >= deadline {
                return Err(self.timed_out("end", within));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Signals it and waits until it has ended.
    ///
    /// # Errors
    /// As [`Process::signal`] and [`Process::wait_exit`].
    pub fn stop(&mut self, signal: Signal, within: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(signal)?;
        self.wait_exit(within)
    }

    /// Processes still alive in its group: itself, and those it started and did not regroup.
    #[must_use]
    pub fn group(&self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| group_of(*pid) == Some(self.id()))
            .collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn ended(&self, status: ExitStatus, awaited: &str) -> ProcessError {
        ProcessError::Ended {
            name: self.name.clone(),
            status,
            awaited: awaited.to_owned(),
            output: self.output(),
        }
    }

    fn timed_out(&self, awaited: &str, within: Duration) -> ProcessError {
        ProcessError::TimedOut {
            name: self.name.clone(),
            awaited: awaited.to_owned(),
            within,
            output: self.output(),
        }
    }

    fn system(&self, source: std::io::Error) -> ProcessError {
        ProcessError::System {
            name: self.name.clone(),
            source,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // ignored: the group may be gone already, which is what is wanted
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<(Output, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        lines: MutexGuard<'a, Vec<(Output, String)>>,
        within: Duration,
    ) -> MutexGuard<'a, Vec<(Output, String)>> {
        self.grown
            .wait_timeout(lines, within)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

fn keep(stream: impl Read + Send + 'static, of: Output, log: Arc<Log>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            log.lines().push((of, text));
            log.grown.notify_all();
            line.clear();
        }
    });
}

fn get_status(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let patience = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut start = String::new();
    BufReader::new(stream).read_line(&mut start)?;
    let status = start
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// The process group of a live process; a zombie counts as gone.
fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the command name is in parentheses and may hold anything, so fields count from its end
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (state != "Z").then_some(group)
}

#[allow(
    clippy::disallowed_methods,
    reason = "test support: deadlines on real programs are real time"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
