//! `/stats/prometheus`: text exposition with Envoy's metric names, tags and buckets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::collect::Value;
use super::{BUCKETS, HistogramBuckets, QUANTILES, StatsQuery};
use crate::{HistogramSnapshot, StatsRegistry};

/// The order in which kinds are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics by kind and name, each with its series by labels.
#[derive(Default)]
pub(crate) struct Exposition(BTreeMap<(Kind, String), BTreeMap<String, Series>>);

/// One series' value.
pub(crate) enum Series {
    Number(u64),
    Histogram(HistogramSnapshot),
}

impl StatsRegistry {
    /// Prometheus text exposition, Istio's standard metrics included.
    pub fn prometheus(&self, query: &StatsQuery) -> String {
        let fixed_tags = self.lock().fixed_tags.clone();
        let mut exposition = Exposition::default();
        for scope in self.collect() {
            for (name, value) in scope.stats {
                if !query.wants(&format!("{}{name}", scope.prefix), &value) {
                    continue;
                }
                let (name, code) = split_code(&name);
                let metric = metric_name(scope.metric, name);
                let labels = code
                    .iter()
                    .map(|(label, value)| (*label, value.as_str()))
                    .chain(
                        scope
                            .labels
                            .iter()
                            .map(|(label, value)| (*label, value.as_str())),
                    )
                    .chain(
                        fixed_tags
                            .iter()
                            .map(|(name, value)| (name.as_str(), value.as_str())),
                    );
                match value {
                    Value::Counter(count) => {
                        let metric = metric + code_suffix(code.as_ref());
                        exposition.add(Kind::Counter, metric, labels, Series::Number(count));
                    }
                    Value::Gauge { value, .. } => {
                        let value = value.max(0).unsigned_abs();
                        exposition.add(Kind::Gauge, metric, labels, Series::Number(value));
                    }
                    Value::Number(number) => {
                        exposition.add(Kind::Gauge, metric, labels, Series::Number(number));
                    }
                    Value::Histogram(histogram) => {
                        let series = Series::Histogram(histogram);
                        exposition.add(Kind::Histogram, metric, labels, series);
                    }
                    // Envoy leaves texts out unless asked for.
                    Value::Text(_) => {}
                }
            }
        }
        self.istio.expose(&mut exposition, query);
        exposition.print(query.buckets)
    }
}

impl Exposition {
    /// Adds a series; one that is there already is added up.
    pub fn add<'a>(
        &mut self,
        kind: Kind,
        metric: String,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        series: Series,
    ) {
        let mut text = String::new();
        for (name, value) in labels {
            if !text.is_empty() {
                text.push(',');
            }
            write_label(&mut text, name, value);
        }
        let known = self.0.entry((kind, metric)).or_default();
        match (known.get_mut(&text), series) {
            (Some(Series::Number(sum)), Series::Number(number)) => *sum += number,
            (Some(Series::Histogram(sum)), Series::Histogram(histogram)) => sum.merge(&histogram),
            (_, series) => {
                known.insert(text, series);
            }
        }
    }

    fn print(self, buckets: HistogramBuckets) -> String {
        let summaries = buckets == HistogramBuckets::Summary;
        let mut out = String::new();
        for ((kind, metric), series) in self.0 {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram if summaries => "summary",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(out, "# TYPE {metric} {kind}");
            for (labels, value) in series {
                let _ = match value {
                    Series::Number(number) => writeln!(out, "{metric}{{{labels}}} {number}"),
                    Series::Histogram(histogram) => {
                        if summaries {
                            write_summary(&mut out, &metric, &labels, &histogram);
                        } else {
                            write_histogram(&mut out, &metric, &labels, &histogram);
                        }
                        Ok(())
                    }
                };
            }
        }
        out
    }
}

/// A histogram's quantiles over all time.
fn write_summary(out: &mut String, metric: &str, labels: &str, histogram: &HistogramSnapshot) {
    let comma = if labels.is_empty() { "" } else { "," };
    for percent in QUANTILES {
        // three digits are enough of 99.9
        let quantile = (percent * 10.0).round() / 1000.0;
        let value = histogram.quantile(quantile);
        let _ = writeln!(
            out,
            "{metric}{{{labels}{comma}quantile=\"{quantile}\"}} {value}"
        );
    }
    let HistogramSnapshot { count, sum, .. } = histogram;
    let _ = writeln!(out, "{metric}_sum{{{labels}}} {sum}");
    let _ = writeln!(out, "{metric}_count{{{labels}}} {count}");
}

fn write_histogram(out: &mut String, metric: &str, labels: &str, histogram: &HistogramSnapshot) {
    let comma = if labels.is_empty() { "" } else { "," };
    for bound in BUCKETS {
        let count = histogram.at_most(bound);
        let _ = writeln!(
            out,
            "{metric}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
        );
    }
    let HistogramSnapshot { count, sum, .. } = histogram;
    let _ = writeln!(out, "{metric}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{metric}_sum{{{labels}}} {sum}");
    let _ = writeln!(out, "{metric}_count{{{labels}}} {count}");
}

fn write_label(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn metric_name(scope: &str, name: &str) -> String {
    let mut metric = format!("envoy_{scope}_{name}");
    // Names are ASCII: those of fields and status codes.
    metric.retain(|character| character.is_ascii());
    metric.replace(|character: char| !character.is_ascii_alphanumeric(), "_")
}

/// Takes the status code or its class off a name, as the label that says it.
fn split_code(name: &str) -> (&str, Option<(&'static str, String)>) {
    let whole = (name, None);
    let Some((head, tail)) = name.rsplit_once('_') else {
        return whole;
    };
    if !head.ends_with("_rq") {
        return whole;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match (tail.strip_suffix("xx"), tail.len()) {
        (Some(class), 3) if digits(class) => {
            (head, Some(("envoy_response_code_class", class.to_owned())))
        }
        (None, 3) if digits(tail) => (head, Some(("envoy_response_code", tail.to_owned()))),
        _ => whole,
    }
}

fn code_suffix(code: Option<&(&'static str, String)>) -> &'static str {
    match code {
        Some(("envoy_response_code_class", _)) => "_xx",
        _ => "",
    }
}
