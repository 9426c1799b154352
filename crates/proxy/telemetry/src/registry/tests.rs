#![allow(clippy::unwrap_used)]
use meltemi_lifecycle::WorkerId;
use regex::Regex;

use super::*;

/// Two workers have counted something.
fn registry() -> Arc<StatsRegistry> {
    let registry = StatsRegistry::new(2);
    let cluster = registry.cluster("outbound|80||x.ns.svc.cluster.local");
    for worker in 0..2 {
        let stats = cluster.shard(WorkerId(worker));
        stats.upstream_rq_total.inc();
        stats.count_response(200, false);
        stats.count_request_time(1, false);
    }
    cluster.shard(WorkerId(1)).count_response(503, false);
    cluster.shard(WorkerId(1)).ssl.get().handshake.inc();
    cluster.shard(WorkerId(0)).upstream_cx_active.inc();
    cluster.shard(WorkerId(1)).upstream_cx_active.inc();
    cluster.shard(WorkerId(1)).upstream_cx_active.dec();
    cluster.main().circuit_breakers.default.rq_open.set(0);
    registry
        .http("ingress")
        .shard(WorkerId(0))
        .count_response(200);
    registry
        .listener("0.0.0.0_8080")
        .shard(WorkerId(1))
        .downstream_cx_total
        .inc();
    registry
        .listener_http("0.0.0.0_8080", "ingress")
        .shard(WorkerId(1))
        .count_response(404);
    registry
        .rds("ingress", "80")
        .main()
        .subscription
        .version_text
        .set("v1");
    registry
        .cluster_manager()
        .cds
        .subscription
        .update_success
        .inc();
    registry
}

fn query(filter: &str, used_only: bool) -> StatsQuery {
    StatsQuery {
        filter: Some(Regex::new(filter).unwrap()),
        used_only,
        ..StatsQuery::default()
    }
}

#[test]
fn text_is_sorted_and_sums_the_shards() {
    let text = registry().text(&query("", true));
    let expected = "\
http.ingress.rds.80.version_text: \"v1\"
cluster.outbound|80||x.ns.svc.cluster.local.circuit_breakers.default.rq_open: 0
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_200: 2
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_2xx: 2
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_503: 1
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_5xx: 1
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_completed: 3
cluster.outbound|80||x.ns.svc.cluster.local.ssl.handshake: 1
cluster.outbound|80||x.ns.svc.cluster.local.upstream_cx_active: 1
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_200: 2
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_2xx: 2
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_503: 1
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_5xx: 1
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_completed: 3
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_total: 2
cluster_manager.cds.update_success: 1
http.ingress.downstream_rq_2xx: 1
http.ingress.downstream_rq_completed: 1
listener.0.0.0.0_8080.downstream_cx_total: 1
listener.0.0.0.0_8080.http.ingress.downstream_rq_4xx: 1
listener.0.0.0.0_8080.http.ingress.downstream_rq_completed: 1
listener.0.0.0.0_8080.worker_1.downstream_cx_total: 1
cluster.outbound|80||x.ns.svc.cluster.local.external.upstream_rq_time: P0(nan,1.0333333333333334) P25(nan,1.0333333333333334) P50(nan,1.0333333333333334) P75(nan,1.0666666666666667) P90(nan,1.0666666666666667) P95(nan,1.0666666666666667) P99(nan,1.0666666666666667) P99.5(nan,1.0666666666666667) P99.9(nan,1.0666666666666667) P100(nan,1.0666666666666667)
cluster.outbound|80||x.ns.svc.cluster.local.upstream_rq_time: P0(nan,1.0333333333333334) P25(nan,1.0333333333333334) P50(nan,1.0333333333333334) P75(nan,1.0666666666666667) P90(nan,1.0666666666666667) P95(nan,1.0666666666666667) P99(nan,1.0666666666666667) P99.5(nan,1.0666666666666667) P99.9(nan,1.0666666666666667) P100(nan,1.0666666666666667)
";
    assert_eq!(text, expected);
}

#[test]
fn unused_statistics_are_there_unless_left_out() {
    let registry = registry();
    let all = registry.text(&query("upstream_cx_(total|connect_ms)$", false));
    assert_eq!(
        all,
        "cluster.outbound|80||x.ns.svc.cluster.local.upstream_cx_total: 0\n\
         cluster.outbound|80||x.ns.svc.cluster.local.upstream_cx_connect_ms: No recorded values\n"
    );
    let none = registry.text(&query("upstream_cx_(total|connect_ms)$", true));
    assert_eq!(none, "");
}

#[test]
fn json_has_envoys_form() {
    let json = registry().json(&query("^http.ingress.downstream_rq_(2xx|time)$", false));
    assert_eq!(json["stats"][0]["name"], "http.ingress.downstream_rq_2xx");
    assert_eq!(json["stats"][0]["value"], 1);
    let histograms = &json["stats"][1]["histograms"];
    assert_eq!(
        histograms["supported_quantiles"].to_string(),
        "[0,25,50,75,90,95,99,99.5,99.9,100]"
    );
    let computed = &histograms["computed_quantiles"][0];
    assert_eq!(computed["name"], "http.ingress.downstream_rq_time");
    assert!(computed["values"][0]["cumulative"].is_null());
}

#[test]
fn prometheus_takes_tags_out_of_names() {
    let registry = registry();
    let text = registry.prometheus(&query(
        "upstream_rq_(200|2xx|503|5xx|total)$|cx_active|rq_4xx|worker_1|cds.update_success",
        true,
    ));
    let expected = r#"# TYPE envoy_cluster_external_upstream_rq counter
envoy_cluster_external_upstream_rq{envoy_response_code="200",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 2
envoy_cluster_external_upstream_rq{envoy_response_code="503",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 1
# TYPE envoy_cluster_external_upstream_rq_xx counter
envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 2
envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 1
# TYPE envoy_cluster_manager_cds_update_success counter
envoy_cluster_manager_cds_update_success{} 1
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 2
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 1
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 2
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 2
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 1
# TYPE envoy_listener_http_downstream_rq_xx counter
envoy_listener_http_downstream_rq_xx{envoy_response_code_class="4",envoy_http_conn_manager_prefix="ingress",envoy_listener_address="0.0.0.0_8080"} 1
# TYPE envoy_listener_worker_downstream_cx_total counter
envoy_listener_worker_downstream_cx_total{envoy_worker_id="1",envoy_listener_address="0.0.0.0_8080"} 1
# TYPE envoy_cluster_upstream_cx_active gauge
envoy_cluster_upstream_cx_active{envoy_cluster_name="outbound|80||x.ns.svc.cluster.local"} 1
"#;
    assert_eq!(text, expected);
}

#[test]
fn prometheus_histograms_have_envoys_buckets() {
    let registry = StatsRegistry::new(1);
    registry.http("h").main().downstream_rq_time.record(7);
    registry.set_fixed_tags(vec![("mesh".to_owned(), "a\"b".to_owned())]);
    let text = registry.prometheus(&query("rq_time", true));
    let lines: Vec<_> = text.lines().collect();
    let labels = r#"envoy_http_conn_manager_prefix="h",mesh="a\"b""#;
    assert_eq!(lines[0], "# TYPE envoy_http_downstream_rq_time histogram");
    let bucket = |bound: &str, count: u64| {
        format!("envoy_http_downstream_rq_time_bucket{{{labels},le=\"{bound}\"}} {count}")
    };
    assert_eq!(lines[1], bucket("0.5", 0));
    assert_eq!(lines[3], bucket("5", 0));
    assert_eq!(lines[4], bucket("10", 1));
    assert_eq!(lines[19], bucket("3600000", 1));
    assert_eq!(lines[20], bucket("+Inf", 1));
    assert_eq!(
        lines[21],
        format!("envoy_http_downstream_rq_time_sum{{{labels}}} 7")
    );
    assert_eq!(
        lines[22],
        format!("envoy_http_downstream_rq_time_count{{{labels}}} 1")
    );
}

#[test]
fn the_same_name_is_the_same_block_until_it_is_removed() {
    let registry = StatsRegistry::new(1);
    let first = registry.cluster("a");
    assert!(Arc::ptr_eq(&first, &registry.cluster("a")));
    registry.remove_cluster("a");
    assert!(!Arc::ptr_eq(&first, &registry.cluster("a")));
}

#[test]
fn counters_go_back_to_zero_and_gauges_stay() {
    let registry = registry();
    registry.reset_counters();
    let left = registry.text(&query(
        "^cluster.*(active|rq_total|rq_200|handshake)$",
        true,
    ));
    assert_eq!(
        left,
        "cluster.outbound|80||x.ns.svc.cluster.local.upstream_cx_active: 1\n"
    );
}
