//! `cargo xtask bench WORK`: ours, Envoy and HAProxy in turn on the same work.
//!
//! Each proxy runs one worker pinned to the first processor; the client and the upstream
//! share the second. What is compared is the processor time that a proxy spends on a
//! request, a megabyte or a handshake, from `/proc`, since that does not depend on how busy
//! the client is. Rounds are interleaved, so that a machine that slows down slows everybody
//! down.

pub mod configuration;
pub mod control_plane;
mod load;
pub mod measure;
mod proxies;
mod report;
mod scale;
mod upstream;
mod work;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

pub use work::Work;

/// Options of a benchmark.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure.
    target: Option<Target>,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Rounds for each proxy.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests, connections or handshakes at a time [default: what the goal names].
    #[arg(long)]
    concurrency: Option<usize>,
    /// Bytes in each response's body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Virtual hosts in the route table, each with a route.
    #[arg(long, default_value_t = 1)]
    virtual_hosts: usize,
    /// Measure the release programs as they are, without building them first.
    #[arg(long)]
    no_build: bool,
    /// Measure only this proxy: meltemi, envoy or haproxy; of the control plane only this part:
    /// namespace, everything or growth.
    #[arg(long)]
    only: Option<String>,
    /// Measure this program as our proxy.
    #[arg(long)]
    meltemi: Option<PathBuf>,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/2 on both sides.
    Http2,
    /// HTTP/2 from the client, HTTP/1.1 to the upstream.
    Http2Http1,
    /// HTTP/1.1 over TLS from the client, over mutual TLS to the upstream.
    Tls,
    /// Bytes from a client to a sink, in writes of a megabyte.
    Tcp,
    /// Handshakes of mutual TLS with P-256 keys, one for each connection.
    Handshakes,
    /// HTTP/1.1 with 1, 100 and 10,000 virtual hosts.
    Routes,
    /// Memory at rest and time to readiness, with one cluster and with 5,000.
    Scale,
    /// A decision among a thousand rules of access control, without a proxy round it.
    Rbac,
    /// Certificates signed a second on one core, without the network.
    Ca,
    /// What changes cost a control plane of 1,000 services and 2,000 proxies; `--rounds` is how many.
    ControlPlane,
    /// All that concern the proxy, one after the other.
    All,
}

/// The benchmark's own processes.
#[derive(Subcommand)]
enum Part {
    /// The upstream.
    #[command(hide = true)]
    Upstream {
        work: Work,
        address: std::net::SocketAddr,
        body: usize,
        material: PathBuf,
    },
    /// The client.
    #[command(hide = true)]
    Load {
        work: Work,
        address: std::net::SocketAddr,
        concurrency: usize,
        milliseconds: u64,
        material: PathBuf,
    },
}

/// Runs a benchmark, or one of its processes.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Some(Part::Upstream {
            work,
            address,
            body,
            material,
        }) => return upstream::run(*work, *address, *body, material),
        Some(Part::Load {
            work,
            address,
            concurrency,
            milliseconds,
            material,
        }) => {
            let time = Duration::from_millis(*milliseconds);
            return load::run(*work, *address, *concurrency, time, material);
        }
        None => {}
    }
    let Some(target) = arguments.target else {
        bail!("name what to measure, such as http1, or all")
    };
    let alone = matches!(target, Target::Rbac | Target::Ca);
    if !alone && !arguments.no_build {
        build()?;
    }
    let programs = programs(arguments)?;
    match target {
        Target::Http1 => one(Work::Http1, arguments, &programs),
        Target::Http2 => one(Work::Http2, arguments, &programs),
        Target::Http2Http1 => one(Work::Http2Http1, arguments, &programs),
        Target::Tls => one(Work::Tls, arguments, &programs),
        Target::Tcp => one(Work::Tcp, arguments, &programs),
        Target::Handshakes => one(Work::Handshakes, arguments, &programs),
        Target::Routes => routes(arguments, &programs),
        Target::Scale => at_scale(arguments, &programs),
        Target::Rbac => example("meltemi-rbac"),
        Target::Ca => example("meltemi-ca"),
        Target::ControlPlane => {
            // Those of the proxy are repeated, and take seconds; these are single changes.
            let changes = if arguments.rounds > 3 {
                arguments.rounds
            } else {
                100
            };
            control_plane::run(&programs, arguments.only.as_deref(), changes)
        }
        Target::All => {
            for work in Work::ALL {
                one(work, arguments, &programs)?;
            }
            routes(arguments, &programs)?;
            at_scale(arguments, &programs)
        }
    }
}

fn plan(work: Work, arguments: &Arguments) -> measure::Plan {
    measure::Plan {
        work,
        round: Duration::from_secs(arguments.seconds.max(1)),
        rounds: arguments.rounds.max(1),
        concurrency: arguments.concurrency.unwrap_or(work.concurrency()).max(1),
        body: arguments.body,
        virtual_hosts: arguments.virtual_hosts.max(1),
        only: arguments.only.clone(),
    }
}

fn one(work: Work, arguments: &Arguments, programs: &Programs) -> Result<()> {
    let plan = plan(work, arguments);
    let results = measure::run(&plan, programs)?;
    report::print(&plan, &results);
    Ok(())
}

fn routes(arguments: &Arguments, programs: &Programs) -> Result<()> {
    for virtual_hosts in [1, 100, 10_000] {
        let plan = measure::Plan {
            virtual_hosts,
            ..plan(Work::Http1, arguments)
        };
        let results = measure::run(&plan, programs)?;
        report::print(&plan, &results);
    }
    Ok(())
}

fn at_scale(arguments: &Arguments, programs: &Programs) -> Result<()> {
    let rounds = arguments.rounds.max(1);
    let results = scale::run(programs, rounds, arguments.only.as_deref())?;
    report::print_scale(rounds, &results);
    Ok(())
}

/// Runs the program that stands beside the policies.
/// What a crate costs by itself, as its own program says.
fn example(package: &str) -> Result<()> {
    let program = [
        "run",
        "--release",
        "--quiet",
        "-p",
        package,
        "--example",
        "cost",
    ];
    let status = Command::new(env!("CARGO")).args(program).status();
    if !status.context("cargo run")?.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}

/// The release builds that are measured and that measure.
pub struct Programs {
    /// Our proxy.
    pub meltemi: PathBuf,
    /// This program, for its client and upstream.
    pub bench: PathBuf,
}

fn build() -> Result<()> {
    eprintln!("building the release programs");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--quiet",
            "-p",
            "meltemi",
            "-p",
            "xtask",
        ])
        .status()
        .context("cargo build")?;
    if !status.success() {
        bail!("the release build failed");
    }
    Ok(())
}

fn programs(arguments: &Arguments) -> Result<Programs> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(|profile| profile.parent());
    let release = target.context("the target directory")?.join("release");
    let ours = arguments.meltemi.clone();
    Ok(Programs {
        meltemi: ours.unwrap_or_else(|| release.join("meltemi")),
        bench: release.join("xtask"),
    })
}
