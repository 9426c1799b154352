//! Development tasks, run as `cargo xtask TASK`. Each task is a module with one `run` function.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task talks to the person who runs it"
)]

mod bench;
mod dist;
mod protos;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of this repository.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the descriptor set that the xDS crate is generated from.
    Protos(protos::Arguments),
    /// Build the program as it is handed out, in `target/dist`.
    Dist(dist::Arguments),
    /// Check the structure: crate edges, sizes, names, fields that conversions leave out.
    Tidy,
    /// Measure the proxy beside Envoy and HAProxy.
    #[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Protos(arguments) => protos::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Tidy => tidy::run(),
        Task::Bench(arguments) => bench::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
