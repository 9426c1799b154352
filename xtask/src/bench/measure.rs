//! Rounds of load against each proxy, and what the proxy's process spent on them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::proxies::{self, Proxy};
use super::{Programs, Work};

/// Load that is not measured, before each round, in milliseconds.
const WARM_UP: u64 = 1000;

/// What is measured.
pub struct Plan {
    /// The work.
    pub work: Work,
    /// How long each round lasts.
    pub round: Duration,
    /// Rounds for each proxy.
    pub rounds: usize,
    /// Requests at a time.
    pub concurrency: usize,
    /// Bytes in each response's body.
    pub body: usize,
    /// Only this proxy.
    pub only: Option<String>,
}

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Microseconds of processor time a request.
    pub cpu_micros: f64,
    /// Requests a second.
    pub throughput: f64,
    /// Median latency in microseconds.
    pub p50: u32,
    /// Latency that one request in a hundred exceeds, in microseconds.
    pub p99: u32,
    /// Resident memory before any request, in KiB.
    pub idle_kib: u64,
    /// Resident memory after the round, in KiB.
    pub loaded_kib: u64,
    /// Requests that failed.
    pub errors: u64,
}

/// The rounds of one proxy.
pub struct Measured {
    /// The proxy.
    pub name: &'static str,
    /// Its rounds.
    pub rounds: Vec<Round>,
}

/// Measures every installed proxy, round by round in turn.
pub fn run(plan: &Plan, programs: &Programs) -> Result<Vec<Measured>> {
    let directory = tempfile::tempdir()?;
    let listen = free_address()?;
    let upstream = free_address()?;
    let _upstream = Helper::start(
        programs,
        &["upstream", &upstream.to_string(), &plan.body.to_string()],
    )?;
    let wanted = |proxy: &Proxy| plan.only.as_deref().is_none_or(|only| only == proxy.name);
    let proxies: Vec<Proxy> = proxies::installed(programs)
        .into_iter()
        .filter(wanted)
        .collect();
    let mut measured: Vec<Measured> = proxies
        .iter()
        .map(|proxy| Measured {
            name: proxy.name,
            rounds: Vec::new(),
        })
        .collect();
    for number in 1..=plan.rounds {
        for (proxy, measured) in proxies.iter().zip(&mut measured) {
            eprintln!("round {number} of {}: {}", plan.rounds, proxy.name);
            let running = proxy.start(plan.work, directory.path(), listen, upstream)?;
            measured
                .rounds
                .push(round(plan, programs, running.process(), listen)?);
        }
    }
    Ok(measured)
}

fn round(plan: &Plan, programs: &Programs, process: u32, address: SocketAddr) -> Result<Round> {
    std::thread::sleep(Duration::from_millis(300));
    let idle_kib = resident_kib(process)?;
    load(plan, programs, address, WARM_UP)?;
    let before = processor_seconds(process)?;
    let milliseconds = u64::try_from(plan.round.as_millis())?;
    let seen = load(plan, programs, address, milliseconds)?;
    let spent = processor_seconds(process)? - before;
    let [requests, errors, p50, p99] = seen;
    if requests == 0 {
        bail!("no request succeeded ({errors} failed)");
    }
    Ok(Round {
        cpu_micros: spent * 1e6 / requests as f64,
        throughput: requests as f64 / plan.round.as_secs_f64(),
        p50: u32::try_from(p50)?,
        p99: u32::try_from(p99)?,
        idle_kib,
        loaded_kib: resident_kib(process)?,
        errors,
    })
}

fn load(
    plan: &Plan,
    programs: &Programs,
    address: SocketAddr,
    milliseconds: u64,
) -> Result<[u64; 4]> {
    let work = match plan.work {
        Work::Http1 => "http1",
        Work::Http2 => "http2",
    };
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(&programs.bench)
        .args(["bench", "load", work, &address.to_string()])
        .args([plan.concurrency.to_string(), milliseconds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("the load client")?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    numbers
        .try_into()
        .map_err(|_| anyhow::anyhow!("the load client printed {text:?}"))
}

/// User and system time of a process, all threads together.
fn processor_seconds(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let (_, rest) = text.rsplit_once(')').context("/proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |index: usize| -> Result<f64> { Ok(fields.get(index).context("utime, stime")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn resident_kib(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    Ok(line.split_whitespace().next().context("VmRSS")?.parse()?)
}

fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// One of the benchmark's own processes, on the second processor; ended when dropped.
struct Helper(Child);

impl Helper {
    fn start(programs: &Programs, arguments: &[&str]) -> Result<Self> {
        let child = Command::new("taskset")
            .args(["-c", "1"])
            .arg(&programs.bench)
            .arg("bench")
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .context("taskset (of util-linux) pins processes to processors")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self(child))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
