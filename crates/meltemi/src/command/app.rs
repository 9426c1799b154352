//! `meltemi app`: the sample workload.

use anyhow::Result;
use meltemi_app::Config;
use meltemi_proxy::LogLevel;

use crate::{env, logging, runtime};

/// Runs the command.
pub(crate) fn run() -> Result<()> {
    logging::to_stderr(LogLevel::Info)?;
    let config = Config::from_lookup(env::variable)?;
    let runtime = runtime::multi_threaded(1)?;
    runtime::until_signal(&runtime, |mut drain, mut kill| async move {
        let serving = meltemi_app::run(config, async move { drain.draining().await });
        tokio::select! {
            result = serving => Ok(result?),
            () = kill.draining() => Ok(()),
        }
    })
}
