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
            let space = match query.buckets {
                HistogramBuckets::Detailed => "",
                _ => " ",
            };
            out.push_str(&format!("{name}:{space}{values}\n"));
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
            stats.push(json!({"histograms": histograms_json(&histograms, query.buckets)}));
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
                    Value::Number(number) => sorted.numbers.push((name, number)),
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

/// Envoy's JSON forms of histograms.
fn histograms_json(histograms: &[(String, HistogramSnapshot)], buckets: HistogramBuckets) -> Json {
    let of = |build: &dyn Fn(&String, &HistogramSnapshot) -> Json| {
        let all = histograms.iter();
        Json::Array(
            all.map(|(name, histogram)| build(name, histogram))
                .collect(),
        )
    };
    let supported: Vec<_> = QUANTILES.iter().map(|q| json_number(*q)).collect();
    let counted = |count: &dyn Fn(&HistogramSnapshot) -> Vec<u64>| {
        of(&|name, histogram| {
            let counts = count(histogram);
            let buckets = BUCKETS.iter().zip(counts).map(|(bound, count)| {
                json!({"upper_bound": json_number(*bound), "interval": 0, "cumulative": count})
            });
            json!({"name": name, "buckets": buckets.collect::<Vec<_>>()})
        })
    };
    match buckets {
        HistogramBuckets::Usual | HistogramBuckets::Summary => json!({
            "supported_quantiles": supported,
            "computed_quantiles": of(&|name, histogram| {
                json!({"name": name, "values": quantiles_json(histogram)})
            }),
        }),
        HistogramBuckets::Cumulative => counted(&cumulative),
        HistogramBuckets::Disjoint => counted(&disjoint),
        HistogramBuckets::Detailed => json!({
            "supported_percentiles": supported,
            "details": of(&|name, histogram| {
                let totals = histogram.filled().map(|(lower, width, count)| {
                    json!({
                        "lower_bound": json_number(lower),
                        "width": json_number(width),
                        "count": count,
                    })
                });
                json!({
                    "name": name,
                    "totals": totals.collect::<Vec<_>>(),
                    "intervals": [],
                    "percentiles": quantiles_json(histogram),
                })
            }),
        }),
    }
}

fn quantiles_json(histogram: &HistogramSnapshot) -> Vec<Json> {
    let quantiles = QUANTILES.iter().map(|percent| {
        let value = histogram.quantile(percent / 100.0);
        json!({"interval": null, "cumulative": json_number(value)})
    });
    quantiles.collect()
}

fn cumulative(histogram: &HistogramSnapshot) -> Vec<u64> {
    BUCKETS
        .iter()
        .map(|bound| histogram.at_most(*bound))
        .collect()
}

fn disjoint(histogram: &HistogramSnapshot) -> Vec<u64> {
    let mut below = 0;
    let own = |at_most: u64| at_most - std::mem::replace(&mut below, at_most);
    cumulative(histogram).into_iter().map(own).collect()
}

/// A bucket's bound as C's `%g` prints it.
fn bound_text(bound: f64) -> String {
    if bound < 1e6 {
        return bound.to_string();
    }
    let text = format!("{bound:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{digits}e+{power:0>2}")
}

fn histogram_text(histogram: &HistogramSnapshot, buckets: HistogramBuckets) -> String {
    if histogram.count == 0 {
        return "No recorded values".to_owned();
    }
    // The first number is that of the last flush interval; there is no flush here.
    let counted = |counts: Vec<u64>| {
        let buckets = BUCKETS.iter().zip(counts);
        let parts = buckets.map(|(bound, count)| format!("B{}(0,{count})", bound_text(*bound)));
        parts.collect::<Vec<_>>().join(" ")
    };
    match buckets {
        HistogramBuckets::Usual | HistogramBuckets::Summary => summary_text(histogram),
        HistogramBuckets::Cumulative => counted(cumulative(histogram)),
        HistogramBuckets::Disjoint => counted(disjoint(histogram)),
        HistogramBuckets::Detailed => {
            let totals = histogram.filled();
            let totals = totals.map(|(lower, width, count)| format!("{lower},{width}:{count}"));
            let totals = totals.collect::<Vec<_>>().join(" ");
            let summary = summary_text(histogram);
            format!("\n  totals={totals}\n  intervals=\n  summary={summary}")
        }
    }
}

fn summary_text(histogram: &HistogramSnapshot) -> String {
    let parts = QUANTILES
        .iter()
        .map(|percent| format!("P{percent}(nan,{})", histogram.quantile(percent / 100.0)));
    parts.collect::<Vec<_>>().join(" ")
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
