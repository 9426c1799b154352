//! The same configuration in a stock Envoy and in `meltemi proxy`, the same requests, the same
//! answers.
//!
//! Each file of `tests/differential` is an Envoy configuration and cases. A case runs in both
//! programs at once, each with upstreams of its own; what the client got, what the upstreams were
//! sent, what the statistics counted and what the access log says must be the same, unless the case
//! says why not, in a sentence that `docs/differences-from-envoy.md` has too. Without an Envoy the
//! expected statuses and numbers of attempts are still held against `meltemi proxy`.
#![allow(clippy::unwrap_used)]

#[path = "interop/admin.rs"]
mod admin;
#[path = "differential/attack.rs"]
mod attack;
#[path = "differential/case.rs"]
mod case;
#[path = "differential/check.rs"]
mod check;
#[path = "differential/connection.rs"]
mod connection;
#[path = "differential/document.rs"]
mod document;
#[path = "differential/frames.rs"]
mod frames;
#[path = "differential/management.rs"]
mod management;
#[path = "differential/observation.rs"]
mod observation;
#[path = "differential/program.rs"]
mod program;
#[path = "differential/run.rs"]
mod run;
#[path = "differential/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use case::{Case, Suite};
use document::{own_data, read};
use meltemi_testkit::{Kind, Pki, envoy_binary, shared_data, skip};
use observation::{Observation, difference};
use program::Program;
use regex::Regex;
use run::{Run, Seen};
use serde_json::Value;
use tokio::sync::Semaphore;

/// How many files run at once; each has two programs.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// How often statistics that differ are read again, and after what time: what is counted may be
/// counted a moment after the client has its answer.
const STATISTICS: (usize, Duration) = (8, Duration::from_millis(40));

/// The identity of a client.
const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";

/// What every file may use: a server's certificate, a client's, and one with a SPIFFE identity.
fn pki() -> Pki {
    Pki::new()
        .with("server", ["interop.test", "*.wild.test", "127.0.0.1"])
        .with("other", ["other.test"])
        .with(
            "names",
            [
                "interop.test",
                "*.interop.test",
                "*.b.interop.test",
                "*.deep.interop.test",
                "other.test",
            ],
        )
        .with("client", ["client.test", CLIENT])
        .with("plain-client", ["plain.test"])
        .with(
            "many-names",
            [
                "spiffe://cluster.local/ns/default/sa/first",
                "spiffe://cluster.local/ns/default/sa/second",
                "one.test",
                "two.test",
                "someone@mail.test",
                "127.0.0.9",
            ],
        )
        .with_special(Kind::Expired, "expired", ["interop.test", "client.test"])
        .with_special(Kind::Foreign, "foreign", ["interop.test", "client.test"])
        .with_special(Kind::Chained, "chained", ["interop.test", "client.test"])
        .with_special(Kind::SelfSigned, "self-signed", ["interop.test"])
        .with_special(Kind::Revoked, "revoked", ["interop.test", "client.test"])
        .with_special(Kind::Expired, "expired-client", [CLIENT])
        .with_special(Kind::NotYetValid, "early-client", [CLIENT])
        .with_special(Kind::Foreign, "foreign-client", [CLIENT])
        .with(
            "other-domain",
            ["spiffe://other.local/ns/default/sa/client"],
        )
        .with(
            "longer-domain",
            ["spiffe://cluster.local.other/ns/default/sa/client"],
        )
        .with(
            "other-account",
            ["spiffe://cluster.local/ns/other/sa/client"],
        )
        .with(
            "longer-account",
            ["spiffe://cluster.local/ns/default/sa/client-2"],
        )
        .with("capitals", ["spiffe://cluster.local/ns/default/sa/CLIENT"])
        .with("dns-name", ["cluster.local"])
}

macro_rules! suites {
    ($($name:ident),* $(,)?) => {
        const SUITES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[tokio::test]
            async fn $name() {
                compare_file(&file(stringify!($name))).await;
            }
        )*
    };
}

suites! {
    access_log,
    access_log_operators,
    admin,
    balancing,
    chains,
    connect,
    details,
    draining,
    edge,
    ext_authz,
    ext_authz_network,
    extended_connect,
    file_sources,
    filters,
    forward_proxy,
    hashing,
    histograms,
    http1,
    http2,
    jwt,
    log_expressions,
    log_services,
    matching,
    network_filters,
    proxy_protocol,
    rbac,
    rbac_network,
    redis,
    resilience,
    retry,
    route_headers,
    router_options,
    routing,
    simple,
    sockets,

    tcp,
    timeout,
    tls,
    tls_upstream,
    tunneling,
    upstream_proxy_protocol,
    virtual_listeners,
    client_certificates,
    xds_aggregated,
    xds_aggregated_delta,
    xds_delta,
    xds_filters,
    xds_late,
    xds_services,
}

/// The file of a suite.
fn file(suite: &str) -> String {
    suite.replace('_', "-")
}

/// Every file is run.
#[test]
fn files() {
    let run: BTreeSet<_> = SUITES.iter().map(|name| file(name)).collect();
    let files = files_in(&own_data());
    assert_eq!(files, run, "files of cases, and those that `suites!` names");
}

/// The files of cases in a directory.
fn files_in(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        Some(name.strip_suffix(".yaml")?.to_owned())
    });
    names.collect()
}

/// Every difference is a bold sentence of the page on differences, and every such sentence is of a
/// case.
#[test]
fn differences() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences-from-envoy.md");
    let text = std::fs::read_to_string(page).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    let listed: BTreeSet<_> = words
        .join(" ")
        .split("- **")
        .skip(1)
        .map(|item| item.split("**").next().unwrap().to_owned())
        .collect();
    let mut said = BTreeSet::new();
    let mut cases = 0;
    for name in SUITES {
        let suite = suite(&file(name));
        cases += suite.cases.len();
        let differs = suite.cases.iter().flat_map(|case| &case.differs);
        said.extend(differs.map(|it| it.because.clone()));
    }
    let unlisted: Vec<_> = said.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not on the page: {unlisted:#?}");
    let stale: Vec<_> = listed.difference(&said).collect();
    assert!(stale.is_empty(), "on the page, in no case: {stale:#?}");
    assert!(cases >= 250, "{cases} cases");
}

fn suite(name: &str) -> Suite {
    suite_in(&own_data(), name)
}

fn suite_in(directory: &Path, name: &str) -> Suite {
    let document = read(&directory.join(format!("{name}.yaml")));
    serde_json::from_value(tokens::signed(document))
        .unwrap_or_else(|error| panic!("{name}.yaml: {error}"))
}

/// Runs a file of cases in both programs.
async fn compare_file(name: &str) {
    let suite = suite(name);
    let mut problems = compare(&suite, &suite.config).await;
    for file in &suite.also {
        match shared_data() {
            Some(data) => problems.extend(compare(&suite, &read(&data.join(file))).await),
            None => skip("shared/data is not beside this checkout; the project's own file ran"),
        }
    }
    let count = problems.len();
    assert!(
        problems.is_empty(),
        "{count} differences in {name}.yaml\n\n{}",
        problems.join("\n")
    );
}

async fn compare(suite: &Suite, document: &Value) -> Vec<String> {
    let _permit = AT_ONCE.acquire().await.unwrap();
    let pki = pki();
    let directory = tempfile::tempdir().unwrap();
    let start = |program| Run::start(program, document, suite, &pki, directory.path());
    let mut ours = start(Program::Meltemi);
    let Some(envoy) = envoy_binary() else {
        skip("no Envoy: set ENVOY_BIN, or have envoy on the path; only our own side is checked");
        let mut problems = Vec::new();
        for (number, case) in suite.cases.iter().enumerate() {
            problems.extend(ours.case(case, number).await.unexpected);
        }
        return problems;
    };
    let mut theirs = start(Program::Envoy(envoy));
    let masks = compiled(&suite.masks);
    let (mut theirs_seen, mut ours_seen) = (Vec::new(), Vec::new());
    for (number, case) in suite.cases.iter().enumerate() {
        let before = statistics(case, &theirs, &ours).await;
        let (mut their, mut our) = tokio::join!(theirs.case(case, number), ours.case(case, number));
        if let Some(before) = before {
            add_statistics(case, &before, [&theirs, &ours], [&mut their, &mut our]).await;
        }
        theirs_seen.push(their);
        ours_seen.push(our);
    }
    tokio::join!(theirs.finish(&mut theirs_seen), ours.finish(&mut ours_seen));
    let mut problems = Vec::new();
    for (case, (mut their, mut our)) in suite
        .cases
        .iter()
        .zip(theirs_seen.into_iter().zip(ours_seen))
    {
        problems.append(&mut their.unexpected);
        problems.append(&mut our.unexpected);
        their.observation.mask(&masks);
        our.observation.mask(&masks);
        problems.extend(judge(case, &their.observation, &our.observation));
    }
    problems.extend(totals(suite, &theirs, &ours).await);
    if !problems.is_empty() {
        problems.push(format!("meltemi wrote:\n{}", ours.complaints()));
    }
    problems
}

/// What differs and should not, and what should and does not.
fn judge(case: &Case, theirs: &Observation, ours: &Observation) -> Vec<String> {
    let mut problems = Vec::new();
    let lines: Vec<_> = case
        .differs
        .iter()
        .flat_map(|it| it.lines.clone())
        .collect();
    if let Some(text) = difference(theirs, ours, &lines) {
        let because: Vec<_> = case.differs.iter().map(|it| it.because.as_str()).collect();
        let because = because.join("; ");
        problems.push(format!(
            "{}: - Envoy, + meltemi {because}\n{text}",
            case.name
        ));
    }
    for known in case.differs.iter().filter(|it| !it.sometimes) {
        let others = case.differs.iter().filter(|it| it.because != known.because);
        let others: Vec<_> = others.flat_map(|it| it.lines.clone()).collect();
        if difference(theirs, ours, &others).is_none() {
            problems.push(format!(
                "{}: no longer differs: {}",
                case.name, known.because
            ));
        }
    }
    problems
}

type Statistics = BTreeMap<String, i64>;

async fn statistics(case: &Case, theirs: &Run<'_>, ours: &Run<'_>) -> Option<[Statistics; 2]> {
    if case.stats.is_empty() {
        return None;
    }
    Some([theirs.statistics().await, ours.statistics().await])
}

/// Reports by how much the statistics that a case names have grown in each program.
async fn add_statistics(
    case: &Case,
    before: &[Statistics; 2],
    runs: [&Run<'_>; 2],
    seen: [&mut Seen; 2],
) {
    let mut reports = [Vec::new(), Vec::new()];
    for _ in 0..STATISTICS.0 {
        for ((report, run), before) in reports.iter_mut().zip(runs).zip(before) {
            *report = growth(case, before, &run.statistics().await);
        }
        if reports[0] == reports[1] {
            break;
        }
        tokio::time::sleep(STATISTICS.1).await;
    }
    for (seen, report) in seen.into_iter().zip(reports) {
        seen.observation.lines.extend(report);
    }
}

fn growth(case: &Case, before: &Statistics, after: &Statistics) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for wanted in &case.stats {
        match wanted.strip_suffix('*') {
            None => {
                let line = match after.get(wanted) {
                    None => format!("stat {wanted}: absent"),
                    Some(now) => {
                        format!("stat {wanted}: {}", now - before.get(wanted).unwrap_or(&0))
                    }
                };
                lines.insert(line);
            }
            Some(prefix) => {
                // how much is buffered at a moment is a matter of the moment
                let of = after
                    .iter()
                    .filter(|(name, _)| name.starts_with(prefix) && !name.ends_with("_buffered"));
                for (name, now) in of {
                    let change = now - before.get(name).unwrap_or(&0);
                    if change != 0 {
                        lines.insert(format!("stat {name}: {change}"));
                    }
                }
            }
        }
    }
    lines.into_iter().collect()
}

/// The statistics that the file names, in the end.
async fn totals(suite: &Suite, theirs: &Run<'_>, ours: &Run<'_>) -> Option<String> {
    let mut reports = Vec::new();
    for run in [theirs, ours] {
        let mut report = Observation::default();
        for (name, value) in run.statistics().await {
            let wanted = suite.statistics.iter().any(|(begin, ends)| {
                let rest = name.strip_prefix(begin.as_str());
                rest.is_some_and(|rest| ends.iter().any(|end| end == rest))
            });
            if wanted {
                report.say(&format!("{name}: {value}"));
            }
        }
        reports.push(report);
    }
    let text = difference(&reports[0], &reports[1], &[])?;
    Some(format!("statistics: - Envoy, + meltemi\n{text}"))
}

fn compiled(masks: &[(String, String)]) -> Vec<(Regex, String)> {
    let compile = |(pattern, with): &(String, String)| (Regex::new(pattern).unwrap(), with.clone());
    // ports that nobody chose: those of the proxies' own connections
    let ports = (
        r"(127\.0\.0\.[0-9]+):[0-9]{4,5}".to_owned(),
        "$1:(port)".to_owned(),
    );
    masks.iter().chain([&ports]).map(compile).collect()
}
