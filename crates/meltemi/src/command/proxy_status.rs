//! `meltemi proxy-status`: how far each proxy has come.

use anyhow::{Result, bail};
use meltemi_local::sync::{Sync, SyncStatus};
use serde_json::json;

use crate::document::{self, Format};
use crate::locate::Locator;
use crate::runtime;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show how far each proxy has come with its configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SYNCED: the proxy has confirmed what was last sent. NOT SENT: there was nothing to send. STALE: the
proxy has not confirmed what was last sent.

Examples:
  meltemi proxy-status
  meltemi proxy-status webapp
  meltemi ps -o json")]
pub(crate) struct Arguments {
    /// Only proxies whose name begins so; POD or POD.NAMESPACE
    #[arg(value_name = "POD[.NAMESPACE]")]
    pod: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Short)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments { pod, output } = arguments;
    let mut statuses = runtime::single_threaded()?.block_on(locator.sync_statuses())?;
    statuses.sort_by(|a, b| a.proxy.cmp(&b.proxy));
    if let Some(pod) = &pod {
        statuses.retain(|it| is_meant(&it.proxy, pod));
        if statuses.is_empty() {
            bail!("no proxy {pod} is connected to the control plane");
        }
    }
    for status in &statuses {
        for (kind, error) in &status.errors {
            let kind = kind.to_uppercase();
            terminal.warning(&format!("{} refused {kind}: {error}", status.proxy));
        }
    }
    let text = match output {
        Format::Short => table(&statuses, &locator.debug_address()?).to_string(),
        Format::Json | Format::Yaml => {
            let rows = statuses.iter().map(|it| {
                json!({
                    "proxy": it.proxy,
                    "cluster": it.cluster_id,
                    "version": it.proxy_version,
                    "cds": it.cds().to_string(),
                    "lds": it.lds().to_string(),
                    "eds": it.eds().to_string(),
                    "rds": it.rds().to_string(),
                    "ecds": it.ecds().to_string(),
                    "errors": it.errors,
                })
            });
            document::render(&rows.collect(), output)?
        }
    };
    Ok(terminal.print(&text)?)
}

fn table(statuses: &[SyncStatus], control_plane: &str) -> Table {
    let mut table = Table::new(
        [
            "NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD", "VERSION",
        ],
        5,
    );
    for status in statuses {
        let word = |sync: Sync| sync.to_string();
        let istiod = match status.istiod.as_str() {
            "" => control_plane,
            name => name,
        };
        table.row([
            status.proxy.clone(),
            status.cluster_id.clone(),
            word(status.cds()),
            word(status.lds()),
            word(status.eds()),
            word(status.rds()),
            word(status.ecds()),
            istiod.to_owned(),
            status.proxy_version.clone(),
        ]);
    }
    table
}

/// Whether `POD.NAMESPACE` is what somebody means by `POD`, `POD.NAMESPACE` or a beginning of `POD`.
fn is_meant(proxy: &str, meant: &str) -> bool {
    let begins = |name: &str, start: &str| {
        let rest = name.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    };
    if begins(proxy, meant) {
        return true;
    }
    match (proxy.rsplit_once('.'), meant.rsplit_once('.')) {
        (Some((pod, namespace)), Some((start, wanted))) => {
            namespace == wanted && begins(pod, start)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_meant;

    #[test]
    fn a_beginning_is_enough() {
        let proxy = "webapp-abc-0.shop";
        for meant in ["webapp", "webapp.shop", "webapp-abc-0", "webapp-abc-0.shop"] {
            assert!(is_meant(proxy, meant), "{meant}");
        }
        for meant in ["web", "webapp.other", "shop", "webapp-abc-0.other"] {
            assert!(!is_meant(proxy, meant), "{meant}");
        }
    }
}
