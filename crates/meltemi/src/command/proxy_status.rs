//! `meltemi proxy-status`: how far each proxy has come.

mod compare;

use anyhow::{Context as _, Result, bail};
use meltemi_local::http;
use meltemi_local::sync::{Sync, SyncStatus};
use serde_json::json;

use crate::config_dump::ConfigDump;
use crate::document::{self, Format};
use crate::locate::{ADMIN_PORT, Locator};
use crate::runtime;
use crate::table::Table;
use crate::terminal::Terminal;

/// Show how far each proxy has come with its configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SYNCED: the proxy has confirmed what was last sent. NOT SENT: there was nothing to send. STALE: the
proxy has not confirmed what was last sent.

Where one proxy is named, what it has is compared with what the control plane would send it.

Examples:
  meltemi proxy-status
  meltemi proxy-status webapp
  meltemi ps -o json")]
pub(crate) struct Arguments {
    /// Only proxies whose name begins so; POD or POD.NAMESPACE. One alone is compared with what the
    /// control plane would send it
    #[arg(value_name = "POD[.NAMESPACE]")]
    pod: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Short)]
    output: Format,
    /// The proxy's administration port
    #[arg(long, value_name = "PORT", default_value_t = ADMIN_PORT)]
    proxy_admin_port: u16,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments {
        pod,
        output,
        proxy_admin_port,
    } = arguments;
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
    terminal.print(&text)?;
    if let (Some(_), [only], Format::Short) = (&pod, statuses.as_slice(), output) {
        match difference(&only.proxy, proxy_admin_port, locator) {
            Ok(text) => terminal.print(&format!("\n{text}"))?,
            Err(error) => terminal.warning(&format!("not compared: {error:#}")),
        }
    }
    Ok(())
}

/// What the proxy has, compared with what the control plane would send it.
fn difference(proxy: &str, admin_port: u16, locator: &Locator) -> Result<String> {
    let (ours, theirs) = runtime::single_threaded()?.block_on(async {
        let path = format!("/debug/config_dump?proxyID={proxy}");
        let ours = dump(&locator.debug_address()?, &path).await?;
        let found = locator.proxy(proxy, admin_port).await?;
        let theirs = dump(&found.admin.to_string(), "/config_dump").await?;
        anyhow::Ok((ours, theirs))
    })?;
    Ok(compare::compare(&ours, &theirs))
}

async fn dump(address: &str, path: &str) -> Result<ConfigDump> {
    let answer = http::get(address, path).await;
    let answer = answer.with_context(|| format!("{address} does not answer"))?;
    if !answer.status.is_success() {
        bail!("http://{address}{path}: {}", answer.status);
    }
    ConfigDump::parse(&answer.body).with_context(|| format!("http://{address}{path}"))
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
