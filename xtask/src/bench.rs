//! `cargo xtask bench http1|http2`: ours, Envoy and HAProxy in turn on the same work.
//!
//! Each proxy runs one worker pinned to the first processor; the client and the upstream
//! share the second. What is compared is the processor time that a proxy spends on a
//! request, from `/proc`, since that does not depend on how busy the client is. Rounds
//! are interleaved, so that a machine that slows down slows everybody down.

mod load;
mod measure;
mod proxies;
mod report;
mod upstream;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

/// Options of a benchmark.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// What to measure.
    work: Option<Work>,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds for each proxy.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests at a time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Bytes in each response's body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Measure the release programs as they are, without building them first.
    #[arg(long)]
    no_build: bool,
    /// Measure only this proxy: meltemi, envoy or haproxy.
    #[arg(long)]
    only: Option<String>,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// HTTP/1.1 on both sides.
    Http1,
    /// HTTP/2 from the client, HTTP/1.1 to the upstream.
    Http2,
}

/// The benchmark's own processes.
#[derive(Subcommand)]
enum Part {
    /// The upstream.
    #[command(hide = true)]
    Upstream {
        address: std::net::SocketAddr,
        body: usize,
    },
    /// The client.
    #[command(hide = true)]
    Load {
        work: Work,
        address: std::net::SocketAddr,
        concurrency: usize,
        milliseconds: u64,
    },
}

/// Runs a benchmark, or one of its processes.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Some(Part::Upstream { address, body }) => return upstream::run(*address, *body),
        Some(Part::Load {
            work,
            address,
            concurrency,
            milliseconds,
        }) => {
            return load::run(
                *work,
                *address,
                *concurrency,
                Duration::from_millis(*milliseconds),
            );
        }
        None => {}
    }
    let Some(work) = arguments.work else {
        bail!("name what to measure: http1 or http2")
    };
    if !arguments.no_build {
        build()?;
    }
    let programs = programs()?;
    let plan = measure::Plan {
        work,
        round: Duration::from_secs(arguments.seconds.max(1)),
        rounds: arguments.rounds.max(1),
        concurrency: arguments.concurrency.max(1),
        body: arguments.body,
        only: arguments.only.clone(),
    };
    let results = measure::run(&plan, &programs)?;
    report::print(&plan, &results);
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

fn programs() -> Result<Programs> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(|profile| profile.parent());
    let release = target.context("the target directory")?.join("release");
    Ok(Programs {
        meltemi: release.join("meltemi"),
        bench: release.join("xtask"),
    })
}
