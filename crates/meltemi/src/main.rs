//! The `meltemi` command: arguments and environment enter, a command runs, an exit code leaves.
//!
//! One file for each command under `command/`; `env.rs` alone reads environment variables. Exit codes:
//! 0 for success, 1 for an error (told as `Error: ...` on standard error), 2 for wrong usage.

mod cli;
mod command;
mod config_dump;
mod date;
mod document;
mod env;
mod locate;
mod logging;
mod runtime;
mod table;
mod terminal;

use std::process::ExitCode;

use crate::cli::Arguments;
use crate::env::Environment;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    let environment = Environment::read();
    let terminal = Terminal::new(environment.no_color);
    let arguments = Arguments::read();
    match command::run(arguments, &environment, &terminal) {
        Ok(code) => code,
        Err(error) => {
            terminal.error(&explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line; a cause that an error has in its own words is told once.
fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
