//! Figures as Prometheus reads them.
//!
//! In: a registry. Out: Prometheus' text format. The library writes OpenMetrics, whose counters end
//! in `_total`; the names that dashboards for Istio look for do not.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// The `Content-Type` of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every figure of the registry.
pub(crate) fn text(registry: &Registry) -> String {
    let mut open = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut open, registry);
    plain(&open)
}

fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut counter = String::new();
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            counter = declared
                .strip_suffix(" counter")
                .unwrap_or_default()
                .to_owned();
        }
        match line.strip_prefix(counter.as_str()) {
            Some(rest) if !counter.is_empty() && rest.starts_with("_total") => {
                text.push_str(&counter);
                text.push_str(&rest["_total".len()..]);
            }
            Some(_) | None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn counters_have_the_name_that_they_were_given() {
        let mut registry = Registry::default();
        let pushes: Counter = Counter::default();
        pushes.inc_by(3);
        registry.register("pilot_xds_pushes", "Pushes", pushes);
        let proxies: Gauge = Gauge::default();
        proxies.set(2);
        registry.register("pilot_xds", "Proxies", proxies);
        assert_eq!(
            text(&registry),
            "# HELP pilot_xds_pushes Pushes.\n# TYPE pilot_xds_pushes counter\npilot_xds_pushes 3\n\
             # HELP pilot_xds Proxies.\n# TYPE pilot_xds gauge\npilot_xds 2\n"
        );
    }
}
