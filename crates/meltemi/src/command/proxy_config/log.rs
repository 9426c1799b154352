//! `meltemi proxy-config log`.

use anyhow::{Context as _, Result, bail};
use meltemi_local::http;

use super::unreachable;
use crate::locate::{ADMIN_PORT, Locator};
use crate::terminal::Terminal;
use crate::{logging, runtime};

/// Show or change what a proxy logs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config log webapp
  meltemi proxy-config log webapp catalog --level debug
  meltemi proxy-config log webapp --level debug
  meltemi proxy-config log webapp --level http:debug,upstream:trace
  meltemi proxy-config log webapp --reset")]
pub(super) struct Arguments {
    /// The proxies: each a pod, a Deployment, or the beginning of a pod's name
    #[arg(value_name = "POD[.NAMESPACE]", required = true)]
    pods: Vec<String>,
    /// A level for everything (LEVEL), or for single loggers (LOGGER:LEVEL,...). Levels are trace,
    /// debug, info, warning, error, critical, off
    #[arg(long, value_name = "LEVELS")]
    level: Option<String>,
    /// Set everything back to the level that proxies begin with
    #[arg(short, long, conflicts_with = "level")]
    reset: bool,
    /// The proxy's administration port
    #[arg(long, value_name = "PORT", default_value_t = ADMIN_PORT)]
    proxy_admin_port: u16,
}

/// The level that proxies begin with.
const INITIAL: &str = "warning";

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        pods,
        level,
        reset,
        proxy_admin_port,
    } = arguments;
    let level = level.or_else(|| reset.then(|| INITIAL.to_owned()));
    let path = match level {
        None => "/logging".to_owned(),
        Some(levels) => path(&levels)?,
    };
    let runtime = runtime::single_threaded()?;
    for pod in &pods {
        let (proxy, answer) = runtime.block_on(async {
            let proxy = locator.proxy(pod, proxy_admin_port).await?;
            let answer = http::post(&proxy.admin.to_string(), &path).await;
            let answer = answer.with_context(|| unreachable(&proxy))?;
            anyhow::Ok((proxy, answer))
        })?;
        let text = String::from_utf8_lossy(&answer.body);
        if !answer.status.is_success() {
            bail!("{pod}: {}", text.trim());
        }
        terminal.print(&format!("{}.{}:\n{text}", proxy.pod, proxy.namespace))?;
    }
    Ok(())
}

/// The request that sets levels as written.
fn path(levels: &str) -> Result<String> {
    for entry in levels.split(',') {
        let level = entry.rsplit(':').next().unwrap_or(entry);
        logging::parse_level(level)
            .map_err(|choices| anyhow::anyhow!("--level: {level:?} is no level; {choices}"))?;
    }
    let named = levels
        .split(',')
        .filter(|entry| entry.contains(':'))
        .count();
    match (named, levels.split(',').count()) {
        (0, 1) => Ok(format!("/logging?level={levels}")),
        (0, _) => bail!("--level: name a logger for each level, LOGGER:LEVEL,LOGGER:LEVEL"),
        (named, all) if named == all => Ok(format!("/logging?paths={levels}")),
        _ => bail!("--level: either one level for everything, or a logger for each"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::path;

    #[test]
    fn levels_become_requests() {
        assert_eq!(path("debug").unwrap(), "/logging?level=debug");
        assert_eq!(
            path("http:debug,tls:off").unwrap(),
            "/logging?paths=http:debug,tls:off"
        );
        for wrong in ["loud", "debug,info", "http:loud", "http:debug,info"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
