//! `meltemi analyze`: what is questionable about these files? Needs no mesh.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use meltemi_analyze::{Code, Level, Message, Suppression, analyze, analyzers};
use meltemi_api::Document;
use meltemi_model::Defaults;
use serde_json::json;

use crate::terminal::{Style, Terminal};

/// Exit code where something at the failure threshold was found; istioctl's.
const FOUND: u8 = 79;
/// Exit code where a file is not YAML; istioctl's.
const UNREADABLE: u8 = 65;

/// Analyze Istio configuration and print validation messages
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi analyze -R examples/coolstore
  meltemi analyze gateway.yaml routing.yaml --failure-threshold Warning
  kubectl get all,gateways.networking.istio.io,virtualservices -A -o yaml | meltemi analyze -
  meltemi analyze -R mesh/ -S \"IST0102=Namespace default\" -o json

Messages have the codes of Istio's documentation:
https://istio.io/latest/docs/reference/config/analysis/

Exits with 79 if a message is at the failure threshold, and with 65 if a file is not YAML; with -o
json or yaml the messages are all there is.")]
pub(crate) struct Arguments {
    /// Files or directories of manifests; - is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take directories with all that is below them
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Tell only of resources of this namespace, which is also that of resources that name none
    #[arg(short, long, conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Tell of resources of all namespaces; so it is unless one is given
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How messages are written
    #[arg(short, long, default_value = "log", ignore_case = true)]
    output: Output,
    /// Messages at this level and above make the exit code 79: Error, Warning or Info
    #[arg(long, default_value = "Error", value_name = "LEVEL")]
    failure_threshold: Level,
    /// Messages below this level are not printed: Error, Warning or Info
    #[arg(long, default_value = "Info", value_name = "LEVEL")]
    output_threshold: Level,
    /// Leave out a message about a resource: CODE=KIND NAME.NAMESPACE, * for any text; repeatable
    #[arg(short = 'S', long, value_name = "CODE=RESOURCE")]
    suppress: Vec<Suppression>,
    /// Whether to use colour
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = clap::ArgAction::Set)]
    color: bool,
    /// List the analyzers and do nothing else
    #[arg(short = 'L', long)]
    list_analyzers: bool,
    /// Do not fail where a file is not YAML
    #[arg(long)]
    ignore_unknown: bool,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Log,
    Json,
    Yaml,
}

/// What was read.
#[derive(Default)]
struct Read {
    names: Vec<String>,
    documents: Vec<Document>,
    /// Files that are not YAML, and why.
    unreadable: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> Result<ExitCode> {
    if arguments.list_analyzers {
        list(terminal)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.files.is_empty() {
        bail!("give the files or directories to analyze; see meltemi analyze --help");
    }
    for suppression in &arguments.suppress {
        let code = &suppression.code;
        if !Code::ALL.iter().any(|it| it.as_str() == code) {
            terminal.warning(&format!("{code} is no message code and has no effect"));
        }
    }
    let read = read(&arguments, terminal)?;
    let namespace = arguments.namespace.as_deref();
    let defaults = Defaults {
        namespace: namespace.unwrap_or("default").into(),
        ..Defaults::default()
    };
    let mut messages = analyze(&read.documents, &defaults);
    messages.retain(|message| {
        let place = message.resource.namespace.as_deref();
        let elsewhere = place.zip(namespace).is_some_and(|(a, b)| a != b);
        !elsewhere && !arguments.suppress.iter().any(|it| it.covers(message))
    });
    let threshold = arguments.output_threshold;
    let shown: Vec<_> = (messages.iter())
        .filter(|it| it.level() >= threshold)
        .collect();
    print(&arguments, &shown, terminal)?;
    if arguments.output != Output::Log {
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &read.unreadable {
        terminal.error(problem);
    }
    if shown.is_empty() {
        let files = read.names.join("\n");
        terminal.note(&match read.unreadable.len() {
            0 => format!("✔ No validation issues found when analyzing {files}."),
            count => format!(
                "No validation issues found when analyzing {files} (but {count} could not be parsed)."
            ),
        });
    }
    let failing = messages
        .iter()
        .any(|it| it.level() >= arguments.failure_threshold);
    if failing {
        terminal.error("analyzers found issues; each code is explained at https://istio.io/latest/docs/reference/config/analysis/");
        return Ok(ExitCode::from(FOUND));
    }
    if !read.unreadable.is_empty() && !arguments.ignore_unknown {
        return Ok(ExitCode::from(UNREADABLE));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(terminal: &Terminal) -> Result<()> {
    let mut text = String::new();
    for analyzer in analyzers() {
        text += &format!("* {}:\n{}\n", analyzer.name, analyzer.description);
    }
    Ok(terminal.print(&text)?)
}

fn read(arguments: &Arguments, terminal: &Terminal) -> Result<Read> {
    let mut read = Read::default();
    for path in &arguments.files {
        if path.as_os_str() == "-" {
            if std::io::stdin().is_terminal() && arguments.output == Output::Log {
                terminal.note("Reading from stdin:");
            }
            let text = std::io::read_to_string(std::io::stdin()).context("standard input")?;
            read.take("-", None, &text);
            continue;
        }
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            directory(path, arguments.recursive, &mut read, terminal)?;
        } else {
            file(path, &mut read, terminal)?;
        }
    }
    Ok(read)
}

fn directory(path: &Path, recursive: bool, read: &mut Read, terminal: &Terminal) -> Result<()> {
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        if !path.is_dir() {
            file(&path, read, terminal)?;
        } else if recursive {
            directory(&path, recursive, read, terminal)?;
        }
    }
    Ok(())
}

fn file(path: &Path, read: &mut Read, terminal: &Terminal) -> Result<()> {
    let name = path.display().to_string();
    let extension = path.extension().and_then(|it| it.to_str());
    if !matches!(extension, Some("json" | "yaml" | "yml")) {
        terminal.note(&format!(
            "Skipping file {name}, recognized file extensions are: [.json .yaml .yml]"
        ));
        return Ok(());
    }
    let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
    read.take(&name, Some(path.into()), &text);
    Ok(())
}

impl Read {
    fn take(&mut self, name: &str, file: Option<Arc<Path>>, text: &str) {
        self.names.push(name.to_owned());
        match meltemi_api::parse(file, text) {
            Ok(documents) => self.documents.extend(documents),
            Err(problem) => self.unreadable.push(problem.to_string()),
        }
    }
}

fn print(arguments: &Arguments, messages: &[&Message], terminal: &Terminal) -> Result<()> {
    let objects = || -> Vec<_> {
        let object = |it: &&Message| {
            let mut object = json!({
                "code": it.code.as_str(),
                "documentationUrl": it.code.documentation(),
                "level": it.level().as_str(),
                "message": it.text,
                "origin": it.origin(),
            });
            if let Some(reference) = it.reference() {
                object["reference"] = reference.into();
            }
            object
        };
        messages.iter().map(object).collect()
    };
    let text = match arguments.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&objects())?),
        Output::Yaml => serde_saphyr::to_string(&objects())?,
        Output::Log => (messages.iter())
            .map(|it| format!("{}\n", line(it, arguments.color, terminal)))
            .collect(),
    };
    Ok(terminal.print(&text)?)
}

/// A message with its level in colour.
fn line(message: &Message, colour: bool, terminal: &Terminal) -> String {
    let text = message.to_string();
    let level = message.level();
    match text.strip_prefix(level.as_str()) {
        Some(rest) if colour => {
            let style = match level {
                Level::Error => Style::Red,
                Level::Warning => Style::Yellow,
                Level::Info => Style::Green,
            };
            format!("{}{rest}", terminal.paint(style, level.as_str()))
        }
        Some(_) | None => text,
    }
}
