//! `/stats` as text and as JSON.

use serde_json::{Value as Json, json};

use super::collect::Value;
use super::{BUCKETS, HistogramBuckets, QUANTILES, StatsQuery};
use crate::{HistogramSnapshot, StatsRegistry};

/// What `/stats` prints, each part sorted by name.
struct Sorted {
    texts: Vec<(String, String)>,
    numbers: Vec<(String, u64)>,
    histograms: Vec<(String, HistogramSnapshot)>,
}

impl StatsRegistry {
    /// `name: value` lines: texts, then numbers, then histograms.
    pub fn text(&self, query: &StatsQuery) -> String {
        let Sorted {
            texts,
            numbers,
            histograms,
        } = self.sorted(query);
        let mut out = String::new();
        for (name, text) in texts {
            out.push_str(&format!("{name}: \"{text}\"\n"));
        }
        for (name, number) in numbers {
            out.push_str(&format!("{name}: {number}\n"));
        }
        for (name, histogram) in histograms {
            let values = histogram_text(&histogram, query.buckets);
            out.push_str(&format!("{name}: {values}\n"));
        }
        out
    }

    /// Envoy's JSON form.
    pub fn json(&self, query: &StatsQuery) -> Json {
        let Sorted {
            texts,
            numbers,
            histograms,
        } = self.sorted(query);
        let texts = texts
            .into_iter()
            .map(|(name, text)| json!({"name": name, "value": text}));
        let numbers = numbers
            .into_iter()
            .map(|(name, number)| json!({"name": name, "value": number}));
        let mut stats: Vec<_> = texts.chain(numbers).collect();
        if !histograms.is_empty() {
            let computed: Vec<_> = histograms
                .iter()
                .map(|(name, histogram)| {
                    let values: Vec<_> = QUANTILES
                        .iter()
                        .map(|percent| {
                            let value = histogram.quantile(percent / 100.0);
                            json!({"interval": null, "cumulative": json_number(value)})
                        })
                        .collect();
                    json!({"name": name, "values": values})
                })
                .collect();
            let supported: Vec<_> = QUANTILES.iter().map(|q| json_number(*q)).collect();
            stats.push(json!({"histograms": {
                "supported_quantiles": supported,
                "computed_quantiles": computed,
            }}));
        }
        json!({"stats": stats})
    }

    fn sorted(&self, query: &StatsQuery) -> Sorted {
        let mut sorted = Sorted {
            texts: Vec::new(),
            numbers: Vec::new(),
            histograms: Vec::new(),
        };
        for scope in self.collect() {
            for (name, value) in scope.stats {
                let name = format!("{}{name}", scope.prefix);
                if !query.wants(&name, &value) {
                    continue;
                }
                match value {
                    Value::Counter(count) => sorted.numbers.push((name, count)),
                    Value::Gauge { value, .. } => {
                        sorted.numbers.push((name, value.max(0).unsigned_abs()));
                    }
                    Value::Histogram(histogram) => sorted.histograms.push((name, histogram)),
                    Value::Text(text) => sorted.texts.push((name, text)),
                }
            }
        }
        sorted.texts.sort();
        sorted.numbers.sort();
        sorted
            .histograms
            .sort_by(|left, right| left.0.cmp(&right.0));
        sorted
    }
}

fn histogram_text(histogram: &HistogramSnapshot, buckets: HistogramBuckets) -> String {
    if histogram.count == 0 {
        return "No recorded values".to_owned();
    }
    // The first number is that of the last flush interval; there is no flush here.
    let parts: Vec<_> = match buckets {
        HistogramBuckets::Summary => QUANTILES
            .iter()
            .map(|percent| format!("P{percent}(nan,{})", histogram.quantile(percent / 100.0)))
            .collect(),
        HistogramBuckets::Cumulative => BUCKETS
            .iter()
            .map(|bound| format!("B{bound}(0,{})", histogram.at_most(*bound)))
            .collect(),
        HistogramBuckets::Disjoint => {
            let mut below = 0;
            let mut own = |at_most: u64| at_most - std::mem::replace(&mut below, at_most);
            BUCKETS
                .iter()
                .map(|bound| format!("B{bound}(0,{})", own(histogram.at_most(*bound))))
                .collect()
        }
    };
    parts.join(" ")
}

/// Whole numbers without a point, and null for not a number, as Envoy prints them.
fn json_number(value: f64) -> Json {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and small"
    )]
    let whole = value as i64;
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(whole)
    } else {
        json!(value)
    }
}
