//! Tables of medians, with ratios to Envoy.

use super::Work;
use super::measure::{Measured, Plan, Round};
use super::scale::{Start, Starts};

/// Prints the table of a work in Markdown.
pub fn print(plan: &Plan, measured: &[Measured]) {
    let unit = plan.work.unit();
    let streams = plan.work.streams();
    let at_once = if streams > 1 {
        let connections = plan.concurrency.div_ceil(streams);
        format!("{connections} connections with {streams} streams each")
    } else {
        format!("{} at a time", plan.concurrency)
    };
    let size = match plan.work {
        Work::Tcp | Work::Handshakes => String::new(),
        _ => format!(", {}-byte bodies", plan.body),
    };
    let hosts = match plan.virtual_hosts {
        1 => String::new(),
        number => format!(", {number} virtual hosts"),
    };
    println!(
        "{}: {at_once}{size}{hosts}, one worker, median of {} rounds of {} s\n",
        plan.work.title(),
        plan.rounds,
        plan.round.as_secs()
    );
    println!(
        "| proxy | CPU µs a {unit} | ÷ Envoy | spread | {unit}s/s | a core | p50 µs | p99 µs | MiB | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let envoy = measured
        .iter()
        .find(|measured| measured.name == "envoy")
        .map(|envoy| median(&envoy.rounds, |round| round.cpu_micros));
    for Measured { name, rounds } in measured {
        let cpu = median(rounds, |round| round.cpu_micros);
        let ratio = envoy.map_or_else(|| "-".to_owned(), |envoy| format!("{:.2}", cpu / envoy));
        let (least, most) = extremes(rounds, |round| round.cpu_micros);
        println!(
            "| {name} | {cpu:.1} | {ratio} | {least:.1} to {most:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {} |",
            median(rounds, |round| round.throughput),
            1e6 / cpu,
            median(rounds, |round| f64::from(round.p50)),
            median(rounds, |round| f64::from(round.p99)),
            median(rounds, |round| round.loaded_kib as f64) / 1024.0,
            rounds.iter().map(|round| round.errors).sum::<u64>(),
        );
    }
    println!();
}

/// Prints the table of memory and readiness in Markdown.
pub fn print_scale(rounds: usize, results: &[Starts]) {
    println!("At rest, one worker, median of {rounds} starts\n");
    println!(
        "| proxy | clusters and virtual hosts | ready after s | CPU s | resident MB | its own MB |"
    );
    println!("|---|---|---|---|---|---|");
    for Starts { name, size, starts } in results {
        let megabytes = |kib: fn(&Start) -> f64| median(starts, kib) * 1024.0 / 1e6;
        println!(
            "| {name} | {size} | {:.2} | {:.2} | {:.1} | {:.1} |",
            median(starts, |start| start.ready),
            median(starts, |start| start.processor),
            megabytes(|start| start.resident_kib as f64),
            megabytes(|start| start.anonymous_kib as f64),
        );
    }
    println!();
}

fn median<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn extremes(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> (f64, f64) {
    let figures = rounds.iter().map(figure);
    figures.fold((f64::INFINITY, 0.0), |(least, most), figure| {
        (least.min(figure), figure.max(most))
    })
}
