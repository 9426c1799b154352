//! `meltemi completion`.

use anyhow::Result;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli;
use crate::terminal::Terminal;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(meltemi completion bash)
  meltemi completion zsh > \"${fpath[1]}/_meltemi\"
  meltemi completion fish > ~/.config/fish/completions/meltemi.fish")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<()> {
    let mut script = Vec::new();
    let mut command = cli::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "meltemi", &mut script);
    Ok(terminal.print(&String::from_utf8_lossy(&script))?)
}
