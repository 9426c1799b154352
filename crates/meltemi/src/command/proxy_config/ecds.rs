//! `meltemi proxy-config ecds`.

use anyhow::Result;

use super::{Output, Subject, understood};
use crate::config_dump::ConfigDump;
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show a proxy's filter configurations that are discovered by name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config ecds webapp
  meltemi pc ec webapp -o yaml")]
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
        Format::Short => summary(&dump, terminal).to_string(),
        Format::Json | Format::Yaml => document::render(&dump.extensions_to_json(), output)?,
    };
    Ok(terminal.print(&text)?)
}

/// The table.
fn summary(dump: &ConfigDump, terminal: &Terminal) -> Table {
    let extensions = understood(dump.extensions(), terminal);
    let mut rows: Vec<[String; 2]> = Vec::new();
    for it in extensions {
        let url = it.typed_config.map(|config| config.type_url);
        let url = url.unwrap_or_default();
        let kind = url.rsplit('/').next().unwrap_or_default();
        rows.push([it.name, kind.to_owned()]);
    }
    rows.sort_by(|[name, kind], [other, other_kind]| (kind, name).cmp(&(other_kind, other)));
    let mut table = Table::new(["ECDS NAME", "TYPE"], 5);
    for row in rows {
        table.row(row);
    }
    table
}
