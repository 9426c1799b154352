//! What each child of `up` runs first: it ties its life to that of `up`, then becomes the program.
//!
//! In: the parent's id and a command. Out: nothing, for the process is then another one. The tie
//! outlasts the change of program, so that it holds for programs that know nothing of it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Why a process did not become the program.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is nothing to run.
    #[error("no program is named")]
    Nothing,
    /// The parent ended before the tie was made.
    #[error("the process that started this one is gone")]
    Orphan,
    /// The system refused the tie.
    #[error("cannot be tied to the process that started it: {0}")]
    Tie(#[from] nix::Error),
    /// The program cannot be run.
    #[error("{program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Becomes `command`, to be killed when the thread of `parent` that started this process ends.
///
/// # Errors
/// When that is not possible; otherwise it does not return.
pub fn become_child(parent: i32, command: &[OsString]) -> Result<Infallible, GuardError> {
    let (program, args) = command.split_first().ok_or(GuardError::Nothing)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(parent) {
        return Err(GuardError::Orphan);
    }
    let source = Command::new(program).args(args).exec();
    Err(GuardError::Exec {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}
