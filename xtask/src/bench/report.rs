//! A table of medians, with ratios to Envoy.

use super::measure::{Measured, Plan, Round};

/// Prints the table in Markdown.
pub fn print(plan: &Plan, measured: &[Measured]) {
    println!(
        "{:?}: {} requests at a time, {}-byte bodies, one worker, median of {} rounds of {} s\n",
        plan.work,
        plan.concurrency,
        plan.body,
        plan.rounds,
        plan.round.as_secs()
    );
    println!(
        "| proxy | CPU µs a request | ÷ Envoy | requests/s | p50 µs | p99 µs | idle MiB | loaded MiB | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let envoy = measured
        .iter()
        .find(|measured| measured.name == "envoy")
        .map(|envoy| median(&envoy.rounds, |round| round.cpu_micros));
    for Measured { name, rounds } in measured {
        let cpu = median(rounds, |round| round.cpu_micros);
        let ratio = envoy.map_or_else(|| "-".to_owned(), |envoy| format!("{:.2}", cpu / envoy));
        let mib = |kib: fn(&Round) -> f64| median(rounds, kib) / 1024.0;
        println!(
            "| {name} | {cpu:.1} | {ratio} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {} |",
            median(rounds, |round| round.throughput),
            median(rounds, |round| f64::from(round.p50)),
            median(rounds, |round| f64::from(round.p99)),
            mib(|round| round.idle_kib as f64),
            mib(|round| round.loaded_kib as f64),
            rounds.iter().map(|round| round.errors).sum::<u64>(),
        );
    }
}

fn median(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
