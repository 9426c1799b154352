//! `meltemi proxy-config bootstrap`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Subject;
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::terminal::Terminal;

/// Show what a proxy started with
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meltemi proxy-config bootstrap webapp
  meltemi pc b webapp -o short")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    output: Format,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments { subject, output } = arguments;
    let dump = subject.dump(locator)?;
    let bootstrap = dump.bootstrap().context("the dump has no bootstrap")?;
    let text = match output {
        Format::Short => summary(bootstrap),
        Format::Json | Format::Yaml => {
            document::render(&json!({ "bootstrap": bootstrap }), output)?
        }
    };
    Ok(terminal.print(&text)?)
}

/// What the proxy is, line by line; versions first, as istioctl tells them.
pub(super) fn summary(bootstrap: &Value) -> String {
    let text = |pointer: &str| match bootstrap.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    };
    let build = |name: &str| text(&format!("/node/user_agent_build_version/{name}"));
    let number = |name: &str| build(&format!("version/{name}")).unwrap_or_else(|| "0".to_owned());
    let envoy = build("version").map(|_| {
        let [major, minor, patch] = ["major_number", "minor_number", "patch"].map(number);
        let labels = ["revision.status", "build.type", "ssl.version"];
        let labels = labels
            .iter()
            .filter_map(|it| build(&format!("metadata/{it}")));
        let version = format!("{major}.{minor}.{patch}");
        std::iter::once(version)
            .chain(labels)
            .collect::<Vec<_>>()
            .join("/")
    });
    let address = text("/admin/address/socket_address/address");
    let port = text("/admin/address/socket_address/port_value");
    let lines = [
        ("Istio Version:", text("/node/metadata/ISTIO_VERSION")),
        (
            "Istio Proxy Version:",
            text("/node/metadata/ISTIO_PROXY_SHA"),
        ),
        ("Envoy Version:", envoy),
        ("Node:", text("/node/id")),
        ("Cluster:", text("/node/cluster")),
        ("Interception:", text("/node/metadata/INTERCEPTION_MODE")),
        (
            "Admin:",
            address
                .zip(port)
                .map(|(address, port)| format!("{address}:{port}")),
        ),
    ];
    let told = || {
        lines
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
    };
    let width = told().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    told()
        .map(|(name, value)| format!("{name:<width$}{value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::summary;

    #[test]
    fn versions_come_first() {
        let bootstrap = json!({
            "node": {
                "id": "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local",
                "metadata": { "ISTIO_VERSION": "1.2.3" },
                "user_agent_build_version": {
                    "version": { "major_number": 1, "minor_number": 34 },
                    "metadata": { "build.type": "RELEASE", "revision.status": "Clean" },
                },
            },
            "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 15000 } } },
        });
        let expected = "\
Istio Version: 1.2.3
Envoy Version: 1.34.0/Clean/RELEASE
Node:          sidecar~10.0.0.1~web.shop~shop.svc.cluster.local
Admin:         127.0.0.1:15000
";
        assert_eq!(summary(&bootstrap), expected);
    }
}
