//! `meltemi validate`: is this valid? Needs no mesh.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use meltemi_model::{Defaults, Problem, ProblemKind, convert_in_part};

use crate::terminal::{Style, Terminal};

/// Check manifests, without a mesh
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi validate -f examples/coolstore
  meltemi validate -f routing.yaml -f gateway.yaml
  kubectl get virtualservices -A -o yaml | meltemi validate -f -

Exits with 1 if anything is invalid. Kinds that the mesh does not take, and what is valid but hardly
meant, are told and are no error.")]
pub(crate) struct Arguments {
    /// A file or directory of manifests; - is standard input
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "FILE")]
    filenames: Vec<PathBuf>,
    /// The namespace of resources that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<ExitCode> {
    let Arguments {
        filenames,
        namespace,
    } = arguments;
    let defaults = Defaults {
        namespace: namespace.as_str().into(),
        judge: meltemi_discovery::judge(),
        ..Defaults::default()
    };
    let (stdin, files): (Vec<_>, Vec<_>) =
        filenames.into_iter().partition(|it| it.as_os_str() == "-");
    let (configs, mut problems) = meltemi_source::load(&files, defaults.clone())?;
    let mut valid = configs.len();
    if !stdin.is_empty() {
        let text = std::io::read_to_string(std::io::stdin()).context("standard input")?;
        let (more, wrong) = check_text(&text, &defaults);
        valid += more;
        problems.extend(wrong);
    }
    let mut invalid = 0;
    for problem in &problems {
        match problem.kind {
            ProblemKind::UnsupportedKind => {
                terminal.say(Style::Yellow, "note", &problem.to_string());
            }
            kind if kind.is_error() => {
                invalid += 1;
                terminal.say(Style::Red, "error", &problem.to_string());
            }
            _ => terminal.warning(&problem.to_string()),
        }
    }
    if invalid > 0 {
        terminal.error(&format!("{invalid} problems; {valid} resources are valid"));
        return Ok(ExitCode::FAILURE);
    }
    terminal.print(&format!("{valid} resources are valid\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn check_text(text: &str, defaults: &Defaults) -> (usize, Vec<Problem>) {
    let documents = match meltemi_api::parse(None, text) {
        Ok(documents) => documents,
        Err(problem) => return (0, vec![*problem]),
    };
    let mut problems = Vec::new();
    let mut valid = 0;
    for document in &documents {
        let (config, found) = convert_in_part(document, defaults);
        valid += usize::from(config.is_some());
        problems.extend(found);
    }
    (valid, problems)
}
