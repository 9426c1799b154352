//! `meltemi ca`: the certificate authority, and replacing its root.
//!
//! In: the control plane's `/debug/ca`. Out: who signs and who is trusted, how far a rotation has come
//! and what it waits for; and the word that begins one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use meltemi_local::http::{self, Answer};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::command::discovery::duration;
use crate::date;
use crate::document::{self, Format};
use crate::locate::Locator;
use crate::runtime;
use crate::table::Table;
use crate::terminal::Terminal;

const STATUS: &str = "/debug/ca";
const ROTATE: &str = "/debug/ca/rotate";

/// How often a rotation is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Inspect the certificate authority, and replace its root
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

/// What is done.
#[derive(Debug, Subcommand)]
enum Kind {
    Status(Status),
    Rotate(Rotate),
}

/// Show who signs and who is trusted, and how far a rotation of the root has come
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A proxy has CONFIRMED when it trusts everything that is trusted now and has a certificate of the root
that signs. WAITING: it has not said so yet. AWAY: it was there a moment ago. SILENT: it does not take
trust bundles, as a proxy without an agent. REFUSED: it did not take the bundle.

Examples:
  meltemi ca status
  meltemi ca status -o json")]
struct Status {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Short)]
    output: Format,
}

/// Replace the root by a new one, without a moment in which somebody is not trusted
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A new root is made known to every proxy first. When each has confirmed that, it begins to sign, and
every certificate is replaced. When none of the old root is left, that is forgotten. Each step is taken
by itself when everybody has followed; `meltemi ca status` shows what it waits for.

Only from the control plane's own machine. An authority that is plugged in is rotated by replacing its
files.

Examples:
  meltemi ca rotate
  meltemi ca rotate --wait --timeout 10m

  # The proxy that it waits for will not come back
  meltemi ca rotate --force")]
struct Rotate {
    /// Follow the rotation to its end, also one that is under way
    #[arg(long)]
    wait: bool,
    /// How long to follow it
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "wait", value_parser = timeout)]
    timeout: Duration,
    /// Take the next step of the rotation that is under way, whatever it waits for: proxies that have
    /// not followed may be refused by the others
    #[arg(long)]
    force: bool,
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    trust_domain: String,
    phase: String,
    since: u64,
    plugged: Option<String>,
    roots: Vec<Root>,
    proxies: Vec<Proxy>,
    waiting_for: Vec<String>,
    outstanding_until: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    fingerprint: String,
    subject: String,
    signs: bool,
    not_after: u64,
    certificates: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Proxy {
    proxy: String,
    state: String,
    reason: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let Arguments { kind } = arguments;
    let runtime = runtime::single_threaded()?;
    match kind {
        Kind::Status(Status { output }) => {
            let answer = runtime.block_on(ask(locator))?;
            let text = match output {
                Format::Short => {
                    let state: State = serde_json::from_value(answer)?;
                    render(&state)
                }
                Format::Json | Format::Yaml => document::render(&answer, output)?,
            };
            Ok(terminal.print(&text)?)
        }
        Kind::Rotate(rotate) => runtime.block_on(rotation(&rotate, locator, terminal)),
    }
}

async fn rotation(rotate: &Rotate, locator: &Locator, terminal: &Terminal) -> Result<()> {
    let address = locator.debug_address()?;
    let body = json!({ "force": rotate.force }).to_string();
    let answer = http::post_json(&address, ROTATE, body).await;
    let answer = answer.with_context(|| unreachable_at(&address))?;
    let follows = rotate.wait && !rotate.force && answer.status.as_u16() == 409;
    if !answer.status.is_success() {
        let reason = String::from_utf8_lossy(&answer.body).trim().to_owned();
        if !(follows && reason.starts_with("a rotation is under way")) {
            bail!("{reason}");
        }
        terminal.note(&reason);
    }
    if !rotate.wait {
        let state = state(locator).await?;
        return Ok(terminal.print(&format!("{}\n", progress(&state)))?);
    }
    let end = Instant::now() + rotate.timeout;
    let mut told = String::new();
    loop {
        let state = state(locator).await?;
        let now = progress(&state);
        if state.phase == "steady" {
            return Ok(terminal.print(&format!("{now}\n"))?);
        }
        if now != told {
            terminal.note(&now);
            told = now;
        }
        if Instant::now() >= end {
            bail!(
                "the rotation goes on, but has not ended within {:?}; {}",
                rotate.timeout,
                progress(&state)
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn state(locator: &Locator) -> Result<State> {
    serde_json::from_value(ask(locator).await?).context("the control plane is not understood")
}

async fn ask(locator: &Locator) -> Result<Value> {
    let address = locator.debug_address()?;
    let answer = http::get(&address, STATUS).await;
    let Answer { status, body } = answer.with_context(|| unreachable_at(&address))?;
    if !status.is_success() {
        let body = String::from_utf8_lossy(&body);
        bail!("http://{address}{STATUS}: {status} {}", body.trim());
    }
    serde_json::from_slice(&body)
        .with_context(|| format!("http://{address}{STATUS} is not understood"))
}

fn unreachable_at(address: &str) -> String {
    format!(
        "no control plane answers at {address}; start one with `meltemi up DIR`, or say where it is with --discovery-address or --state-dir"
    )
}

/// One line about a rotation.
fn progress(state: &State) -> String {
    let root = |signs: bool| {
        let found = state.roots.iter().find(|it| it.signs == signs);
        found.map_or("none", |it| short(&it.fingerprint))
    };
    let what = match state.phase.as_str() {
        "steady" => return format!("steady: {} signs, and it alone is trusted", root(true)),
        "distributing" => format!("distributing: {} is made known", root(false)),
        _ => format!("replacing: {} signs", root(true)),
    };
    let confirmed = state.proxies.iter().filter(|it| it.state == "CONFIRMED");
    let (confirmed, all) = (confirmed.count(), state.proxies.len());
    let waiting = match state.waiting_for.as_slice() {
        [] => String::new(),
        [one] => format!("; waiting: {one}"),
        [one, rest @ ..] => format!("; waiting: {one}; and {} more", rest.len()),
    };
    format!("{what}, {confirmed} of {all} proxies have confirmed{waiting}")
}

fn render(state: &State) -> String {
    let mut text = format!(
        "TRUST DOMAIN     {}\nPHASE            {}, since {}\n",
        state.trust_domain,
        state.phase,
        date::rfc3339(state.since)
    );
    if let Some(plugged) = &state.plugged {
        text.push_str(&format!("PLUGGED IN       {plugged}\n"));
    }
    if let Some(until) = state.outstanding_until.filter(|_| state.phase != "steady") {
        let until = date::rfc3339(until);
        text.push_str(&format!("OLD ONES END     {until}\n"));
    }
    let mut roots = Table::new(["ROOT", "SUBJECT", "ROLE", "NOT AFTER", "CERTIFICATES"], 5);
    for root in &state.roots {
        let role = match (root.signs, state.phase.as_str()) {
            (true, _) => "signs",
            (false, "distributing") => "next",
            (false, _) => "last",
        };
        roots.row([
            short(&root.fingerprint).to_owned(),
            root.subject.clone(),
            role.to_owned(),
            date::rfc3339(root.not_after),
            root.certificates.to_string(),
        ]);
    }
    text.push_str(&format!("\n{roots}"));
    if !state.proxies.is_empty() {
        let mut proxies = Table::new(["PROXY", "TRUST BUNDLE"], 5);
        for proxy in &state.proxies {
            let reason = proxy.reason.iter().map(|it| format!(": {it}"));
            let cell = proxy.state.clone() + &reason.collect::<String>();
            proxies.row([proxy.proxy.clone(), cell]);
        }
        text.push_str(&format!("\n{proxies}"));
    }
    if !state.waiting_for.is_empty() {
        text.push_str("\nThe next step waits:\n");
        for one in &state.waiting_for {
            text.push_str(&format!("  {one}\n"));
        }
    }
    text
}

/// As much of a fingerprint as tells roots apart.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: &str, waiting_for: &[&str]) -> State {
        let root = |fingerprint: &str, signs| Root {
            fingerprint: fingerprint.repeat(32),
            subject: "O=cluster.local".to_owned(),
            signs,
            not_after: 2_000_000_000,
            certificates: 3,
        };
        State {
            trust_domain: "cluster.local".to_owned(),
            phase: phase.to_owned(),
            since: 1_800_000_000,
            plugged: None,
            roots: match phase {
                "steady" => vec![root("ab", true)],
                _ => vec![root("ab", true), root("cd", false)],
            },
            proxies: vec![
                Proxy {
                    proxy: "web-1.shop".to_owned(),
                    state: "CONFIRMED".to_owned(),
                    reason: None,
                },
                Proxy {
                    proxy: "web-2.shop".to_owned(),
                    state: "REFUSED".to_owned(),
                    reason: Some("no PEM".to_owned()),
                },
            ],
            waiting_for: waiting_for.iter().map(|it| (*it).to_owned()).collect(),
            outstanding_until: Some(1_800_086_400),
        }
    }

    #[test]
    fn a_rotation_is_told_in_one_line() {
        for (state, expected) in [
            (
                state("steady", &[]),
                "steady: abababababababab signs, and it alone is trusted",
            ),
            (
                state("distributing", &["web-2.shop refused"]),
                "distributing: cdcdcdcdcdcdcdcd is made known, 1 of 2 proxies have confirmed; waiting: web-2.shop refused",
            ),
            (
                state("replacing", &["a", "b", "c"]),
                "replacing: abababababababab signs, 1 of 2 proxies have confirmed; waiting: a; and 2 more",
            ),
        ] {
            assert_eq!(progress(&state), expected);
        }
    }

    #[test]
    fn the_status_names_everything() {
        let text = render(&state(
            "replacing",
            &["web-2.shop refused the trust bundle: no PEM"],
        ));
        assert_eq!(
            text,
            "\
TRUST DOMAIN     cluster.local
PHASE            replacing, since 2027-01-15T08:00:00Z
OLD ONES END     2027-01-16T08:00:00Z

ROOT                 SUBJECT             ROLE      NOT AFTER                CERTIFICATES
abababababababab     O=cluster.local     signs     2033-05-18T03:33:20Z     3
cdcdcdcdcdcdcdcd     O=cluster.local     last      2033-05-18T03:33:20Z     3

PROXY          TRUST BUNDLE
web-1.shop     CONFIRMED
web-2.shop     REFUSED: no PEM

The next step waits:
  web-2.shop refused the trust bundle: no PEM
"
        );
    }
}
