//! The `meltemi` command: arguments and environment enter, a command runs, an exit code leaves.
//!
//! One file for each command under `command/`; `env.rs` alone reads environment variables. Exit codes:
//! 0 for success, 1 for an error (told as `Error: ...` on standard error), 2 for wrong usage.

mod cli;
mod command;
mod config_dump;
mod document;
mod env;
mod locate;
mod logging;
mod runtime;
mod table;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Arguments;
use crate::env::Environment;
use crate::terminal::Terminal;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = Environment::read();
    let terminal = Terminal::new(environment.no_color);
    let arguments = Arguments::parse();
    match command::run(arguments, &environment, &terminal) {
        Ok(code) => code,
        Err(error) => {
            terminal.error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
