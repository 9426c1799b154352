//! `meltemi proxy-config bootstrap`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Subject;
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show what a proxy started with
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config bootstrap webapp
  meltemi pc b webapp -o short")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    output: Format,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments { subject, output } = arguments;
    let dump = subject.dump(locator)?;
    let bootstrap = dump.bootstrap().context("the dump has no bootstrap")?;
    let text = match output {
        Format::Short => table(bootstrap).to_string(),
        Format::Json | Format::Yaml => {
            document::render(&json!({ "bootstrap": bootstrap }), output)?
        }
    };
    Ok(terminal.print(&text)?)
}

fn table(bootstrap: &Value) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"], 5);
    let places = [
        ("node.id", "/node/id"),
        ("node.cluster", "/node/cluster"),
        ("version", "/node/metadata/ISTIO_VERSION"),
        ("interception", "/node/metadata/INTERCEPTION_MODE"),
        ("admin", "/admin/address/socket_address/address"),
        ("admin port", "/admin/address/socket_address/port_value"),
    ];
    for (name, pointer) in places {
        match bootstrap.pointer(pointer) {
            Some(Value::String(text)) => table.row([name.to_owned(), text.clone()]),
            Some(value) => table.row([name.to_owned(), value.to_string()]),
            None => {}
        }
    }
    table
}
