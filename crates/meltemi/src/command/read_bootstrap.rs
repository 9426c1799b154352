//! `meltemi read-bootstrap`, which is not for people: reads a bootstrap for another process.
//!
//! To read messages from YAML takes the descriptors of every message, some 15 MiB that an
//! allocator does not give back whole, and code that a proxy never runs again. A child process
//! takes all that with it when it ends, so that the proxy starts small and stays so.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use meltemi_xds::pb::envoy::config::bootstrap::v3::Bootstrap as Message;
use prost::Message as _;

/// Read a bootstrap from standard input and write it encoded to standard output
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to call it where it is wrong
    file: String,
}

/// Runs the command: the encoded message and success, or the problem and failure.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let (output, code) = match meltemi_config::bootstrap_message(&text, &arguments.file) {
        Ok(message) => (message.encode_to_vec(), ExitCode::SUCCESS),
        Err(errors) => (errors.to_string().into_bytes(), ExitCode::FAILURE),
    };
    std::io::stdout().write_all(&output)?;
    Ok(code)
}

/// Reads a bootstrap in a child process; in this one where no child can be started.
///
/// # Errors
/// What is wrong with the text, as [`meltemi_config::bootstrap_message`] says it.
pub(crate) fn read_apart(text: &str, file: &str) -> Result<Message> {
    let Ok(mut child) = start(file) else {
        return Ok(meltemi_config::bootstrap_message(text, file)?);
    };
    let mut input = child.stdin.take().context("the child has no input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stdout));
    }
    Message::decode(output.stdout.as_slice()).context("what the child wrote")
}

fn start(file: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("read-bootstrap")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}
