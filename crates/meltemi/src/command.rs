//! The commands, a file each.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Arguments, Command};
use crate::env::Environment;
use crate::locate::Locator;
use crate::terminal::Terminal;

pub(crate) mod agent;
pub(crate) mod analyze;
pub(crate) mod app;
pub(crate) mod authz;
pub(crate) mod ca;
pub(crate) mod child;
pub(crate) mod completion;
pub(crate) mod discovery;
pub(crate) mod manifest;
pub(crate) mod proxy;
pub(crate) mod proxy_config;
pub(crate) mod proxy_status;
pub(crate) mod up;
pub(crate) mod validate;
pub(crate) mod version;

/// Runs the command that was asked for.
pub(crate) fn run(
    arguments: Arguments,
    environment: &Environment,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let Arguments { global, command } = arguments;
    let locator = Locator::new(&global, environment);
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Up(it) => done(up::run(it, &global, environment, terminal)),
        Command::Discovery(it) => done(discovery::run(*it)),
        Command::Agent(it) => done(agent::run(it)),
        Command::Proxy(it) => done(proxy::run(it, terminal)),
        Command::App => done(app::run()),
        Command::ProxyStatus(it) => done(proxy_status::run(it, &locator, terminal)),
        Command::ProxyConfig(it) => done(proxy_config::run(it, &locator, terminal)),
        Command::Analyze(it) => analyze::run(it, terminal),
        Command::Manifest(it) => done(manifest::run(&it, terminal)),
        Command::Authz(it) => authz::run(it, &locator, terminal),
        Command::Ca(it) => done(ca::run(it, &locator, terminal)),
        Command::Validate(it) => validate::run(it, terminal),
        Command::Version(it) => done(version::run(it, terminal)),
        Command::Completion(it) => done(completion::run(it, terminal)),
        Command::Child(it) => done(child::run(it)),
    }
}
