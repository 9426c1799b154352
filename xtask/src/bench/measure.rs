//! Rounds of load against each proxy, and what the proxy's process spent on them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meltemi_testkit::Pki;

use super::configuration::Setting;
use super::proxies::{self, Proxy};
use super::{Programs, Work};

/// Load that is not measured, before each round, in milliseconds.
const WARM_UP: u64 = 1000;

/// How often it is looked whether a process that was asked has ended, and the pause between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

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
    /// Virtual hosts in the route table.
    pub virtual_hosts: usize,
    /// Only this proxy.
    pub only: Option<String>,
}

/// What one round showed. A unit is what the work is counted in.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Microseconds of processor time a unit.
    pub cpu_micros: f64,
    /// Units a second.
    pub throughput: f64,
    /// Median latency in microseconds.
    pub p50: u32,
    /// Latency that one unit in a hundred exceeds, in microseconds.
    pub p99: u32,
    /// Resident memory after the round, in KiB.
    pub loaded_kib: u64,
    /// Units that failed.
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
    write_material(directory.path())?;
    let listen = free_address()?;
    let upstream = free_address()?;
    let body = plan.body.to_string();
    let helper = [
        "upstream",
        plan.work.name(),
        &upstream.to_string(),
        &body,
        path(directory.path())?,
    ];
    let _upstream = Helper::start(programs, &helper)?;
    let proxies: Vec<Proxy> = proxies::installed(programs, plan.work, plan.only.as_deref());
    let mut measured: Vec<Measured> = proxies
        .iter()
        .map(|proxy| Measured {
            name: proxy.name,
            rounds: Vec::new(),
        })
        .collect();
    let setting = Setting {
        work: plan.work,
        listen,
        upstream,
        directory: directory.path(),
        virtual_hosts: plan.virtual_hosts,
        clusters: 1,
    };
    for number in 1..=plan.rounds {
        for (proxy, measured) in proxies.iter().zip(&mut measured) {
            let title = plan.work.title();
            eprintln!("{title}: round {number} of {}, {}", plan.rounds, proxy.name);
            let running = proxy.start(&setting)?;
            measured
                .rounds
                .push(round(plan, programs, running.process(), &setting)?);
        }
    }
    Ok(measured)
}

/// Certificates for every kind of load, all of one authority, with P-256 keys.
pub fn write_material(directory: &Path) -> Result<()> {
    let pki = Pki::new()
        .with("server", ["bench.example"])
        .with("client", ["spiffe://bench.example/client"]);
    Ok(pki.write(directory)?)
}

fn round(plan: &Plan, programs: &Programs, process: u32, setting: &Setting<'_>) -> Result<Round> {
    load(plan, programs, setting, WARM_UP)?;
    let before = processor_seconds(process)?;
    let milliseconds = u64::try_from(plan.round.as_millis())?;
    let seen = load(plan, programs, setting, milliseconds)?;
    let spent = processor_seconds(process)? - before;
    let [units, errors, p50, p99] = seen;
    if units == 0 {
        bail!("nothing succeeded ({errors} failed)");
    }
    Ok(Round {
        cpu_micros: spent * 1e6 / units as f64,
        throughput: units as f64 / plan.round.as_secs_f64(),
        p50: u32::try_from(p50)?,
        p99: u32::try_from(p99)?,
        loaded_kib: resident_kib(process)?,
        errors,
    })
}

fn load(
    plan: &Plan,
    programs: &Programs,
    setting: &Setting<'_>,
    milliseconds: u64,
) -> Result<[u64; 4]> {
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(&programs.bench)
        .args(["bench", "load", plan.work.name()])
        .arg(setting.listen.to_string())
        .args([plan.concurrency.to_string(), milliseconds.to_string()])
        .arg(setting.directory)
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

/// Asks a process to end, and makes it where it does not; one that counts for the compiler writes its
/// counts as it ends.
pub fn end(child: &mut Child) {
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    for _ in 0..TRIES {
        if asked.is_err() || !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    // ignored: it has ended
    let _ = child.kill();
    let _ = child.wait();
}

/// User and system time of a process, all threads together.
pub fn processor_seconds(process: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let (_, rest) = text.rsplit_once(')').context("/proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks =
        |index: usize| -> Result<f64> { Ok(fields.get(index).context("utime, stime")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Resident memory of a process.
pub fn resident_kib(process: u32) -> Result<u64> {
    status_kib(process, "VmRSS:")
}

/// Resident memory of a process that is its own: what it wrote to.
pub fn anonymous_kib(process: u32) -> Result<u64> {
    status_kib(process, "RssAnon:")
}

fn status_kib(process: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| field.to_owned())?;
    let number = line.split_whitespace().next().context("a number")?;
    Ok(number.parse()?)
}

/// An address that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a temporary directory in UTF-8")
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
