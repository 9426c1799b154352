//! `meltemi proxy-config all`.

use anyhow::Result;

use super::{Output, Subject, cluster, listener, route, secret};
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::terminal::Terminal;

/// Show all of a proxy's configuration: clusters, listeners, routes and secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config all webapp
  meltemi pc all webapp -o json")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    output: Output,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        subject,
        output: Output { output },
    } = arguments;
    let dump = subject.dump(locator)?;
    let text = match output {
        Format::Short => {
            let tables = [
                cluster::summary(&dump, terminal),
                listener::summary(&dump, terminal),
                route::summary(&dump, terminal),
                secret::summary(&dump, terminal),
            ];
            tables.map(|it| it.to_string()).join("\n")
        }
        Format::Json | Format::Yaml => document::render(&dump.to_json(), output)?,
    };
    Ok(terminal.print(&text)?)
}
