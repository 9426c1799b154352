//! What a proxy weighs at rest and how soon it listens, with one cluster and with thousands.

use std::time::Duration;

use anyhow::Result;

use super::configuration::Setting;
use super::measure::{anonymous_kib, free_address, processor_seconds, resident_kib};
use super::{Programs, Work, proxies};

/// Clusters, and virtual hosts, of the two configurations.
pub const SIZES: [usize; 2] = [1, 5000];

/// How long a proxy is left alone before its memory is read.
const REST: Duration = Duration::from_millis(1500);

/// One start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// From the start of the process until it listened, in seconds.
    pub ready: f64,
    /// Processor time of the process itself until it came to rest, in seconds.
    pub processor: f64,
    /// Resident memory at rest, in KiB.
    pub resident_kib: u64,
    /// What of it is its own, in KiB; the rest are pages of the program's file.
    pub anonymous_kib: u64,
}

/// The starts of one proxy with one configuration.
pub struct Starts {
    /// The proxy.
    pub name: &'static str,
    /// Clusters and virtual hosts.
    pub size: usize,
    /// One for each round.
    pub starts: Vec<Start>,
}

/// Starts every proxy with each configuration, round by round in turn.
pub fn run(programs: &Programs, rounds: usize, only: Option<&str>) -> Result<Vec<Starts>> {
    let directory = tempfile::tempdir()?;
    let proxies = proxies::installed(programs, Work::Http1, only);
    let proxies: Vec<_> = proxies.iter().filter(|it| it.name != "haproxy").collect();
    let mut results = Vec::new();
    for size in SIZES {
        let first = results.len();
        results.extend(proxies.iter().map(|proxy| Starts {
            name: proxy.name,
            size,
            starts: Vec::new(),
        }));
        for round in 1..=rounds {
            for (proxy, result) in proxies.iter().zip(&mut results[first..]) {
                eprintln!("{size} clusters: round {round} of {rounds}, {}", proxy.name);
                proxy.bring_into_cache()?;
                let running = proxy.start(&Setting {
                    work: Work::Http1,
                    listen: free_address()?,
                    upstream: free_address()?,
                    directory: directory.path(),
                    virtual_hosts: size,
                    clusters: size,
                })?;
                std::thread::sleep(REST);
                let process = running.process();
                result.starts.push(Start {
                    ready: running.ready_after.as_secs_f64(),
                    processor: processor_seconds(process)?,
                    resident_kib: resident_kib(process)?,
                    anonymous_kib: anonymous_kib(process)?,
                });
            }
        }
    }
    Ok(results)
}
