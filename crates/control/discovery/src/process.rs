//! What this process uses, as Prometheus' client libraries report it.
//!
//! In: Linux' `/proc/self`. Out: text for `/metrics`; nothing where there is no `/proc`.

use std::fmt::Write as _;
use std::fs;

/// Clock ticks a second in `/proc`: part of Linux' interface to programs, whatever the kernel's own.
const TICKS: f64 = 100.0;
/// What `/proc/self/statm` counts in.
const PAGE: u64 = 4096;

/// The figures, in Prometheus' text format.
pub(crate) fn text() -> String {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
        );
    };
    if let Some(seconds) = cpu_seconds() {
        let help = "Processor time used, in seconds.";
        figure("process_cpu_seconds_total", "counter", help, seconds);
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory, in bytes.";
        figure("process_resident_memory_bytes", "gauge", help, bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        let help = "Open file descriptors.";
        let count = u32::try_from(entries.count()).unwrap_or(u32::MAX);
        figure("process_open_fds", "gauge", help, f64::from(count));
    }
    text
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn resident_bytes() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    // Figures are floating point; memory is far below where that loses a page.
    Some((pages * PAGE) as f64)
}
