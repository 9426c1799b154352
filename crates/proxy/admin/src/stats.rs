//! `/stats` and `/stats/prometheus`.

use std::time::Duration;

use meltemi_telemetry::{HistogramBuckets, StatKind, StatsQuery};

use crate::query::Query;
use crate::reply::Reply;
use crate::{AdminState, server_info};

pub(crate) fn stats(state: &AdminState, query: &Query<'_>) -> Reply {
    server_info::update_stats(state);
    let wanted = match wanted(query) {
        Ok(wanted) => wanted,
        Err(reply) => return reply,
    };
    match query.get("format") {
        None | Some("" | "text") => Reply::text(state.stats.text(&wanted)),
        Some("json") => Reply::compact_json(&state.stats.json(&wanted)),
        Some("prometheus") => Reply::text(state.stats.prometheus(&wanted)),
        Some("html") => Reply::html(page(&state.stats.text(&wanted), None)),
        Some("active-html") => Reply::html(page(&state.stats.text(&wanted), Some(REFRESH))),
        Some(_) => {
            let usage = "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n";
            Reply::bad_request(usage)
        }
    }
}

/// How often a page of statistics is loaded again that is to be.
const REFRESH: Duration = Duration::from_secs(5);

/// Statistics as a page.
fn page(text: &str, refresh: Option<Duration>) -> String {
    let refresh = refresh.map_or_else(String::new, |every| {
        format!(
            "<meta http-equiv=\"refresh\" content=\"{}\">",
            every.as_secs()
        )
    });
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">{refresh}\
         <title>Statistics</title></head>\n<body>\n<pre>\n{text}</pre>\n</body>\n</html>\n"
    )
}

pub(crate) fn prometheus(state: &AdminState, query: &Query<'_>) -> Reply {
    server_info::update_stats(state);
    match wanted(query) {
        Ok(wanted) => Reply::text(state.stats.prometheus(&wanted)),
        Err(reply) => reply,
    }
}

fn wanted(query: &Query<'_>) -> Result<StatsQuery, Reply> {
    let kind = match query.get("type") {
        None | Some("" | "All") => StatKind::All,
        Some("Counters") => StatKind::Counters,
        Some("Gauges") => StatKind::Gauges,
        Some("Histograms") => StatKind::Histograms,
        Some("TextReadouts") => StatKind::TextReadouts,
        Some(_) => return Err(Reply::bad_request("invalid &type= param")),
    };
    let buckets = match query.get("histogram_buckets") {
        None | Some("" | "none") => HistogramBuckets::Usual,
        Some("summary") => HistogramBuckets::Summary,
        Some("cumulative") => HistogramBuckets::Cumulative,
        Some("disjoint") => HistogramBuckets::Disjoint,
        Some("detailed") => HistogramBuckets::Detailed,
        Some(_) => {
            let usage = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n";
            return Err(Reply::bad_request(usage));
        }
    };
    Ok(StatsQuery {
        filter: query.regex("filter")?,
        invert_filter: query.is_on("invert_filter"),
        used_only: query.is_on("usedonly"),
        kind,
        buckets,
    })
}
