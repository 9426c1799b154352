//! Development tasks, run as `cargo xtask TASK`. Each task is a module with one `run` function.

mod protos;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Protos(arguments) => protos::run(&arguments),
    }
}
