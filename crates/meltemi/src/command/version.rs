//! `meltemi version`.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use crate::document::{self, Format};
use crate::terminal::Terminal;

/// Print the version
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi version
  meltemi version -o json")]
pub(crate) struct Arguments {
    /// How to print it
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

/// How to print it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Json,
    Yaml,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let format = match arguments.output {
        None => return Ok(terminal.print(&format!("meltemi {version}\n"))?),
        Some(Output::Json) => Format::Json,
        Some(Output::Yaml) => Format::Yaml,
    };
    let text = document::render(&json!({ "clientVersion": { "version": version } }), format)?;
    Ok(terminal.print(&text)?)
}
