//! `meltemi child`: what each process of `up` is at first. Not for people.

use std::ffi::OsString;

use anyhow::Result;

/// Become a program that ends with the process that started it
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The process that starts this one.
    parent: i32,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command; returns only if that fails.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let Arguments { parent, command } = arguments;
    match meltemi_local::become_child(parent, &command)? {}
}
