//! The program as a new user meets it: `meltemi up` on the cool store, requests through its gateway,
//! edits of its files, the tools that look inside, and the end.
//!
//! Each test runs the real binary on addresses of its own, on a copy of the example.

#![allow(clippy::unwrap_used)]

mod e2e {
    mod authz;
    mod bootstrap;
    mod dns;
    mod extension;
    pub mod mesh;
    mod rotation;
}

use std::time::Duration;

use e2e::mesh::{Mesh, Tool, eventually, is_alive, meltemi};
use meltemi_testkit::{Load, Output, Process, Request, Response, Signal};

const SUBSET_V1: &str = "  - name: version-v1\n    labels:\n      version: v1\n";
const WEIGHTS: &str = "      weight: 100\n    - destination:\n        host: catalog\n        subset: version-v2\n      weight: 0\n";

fn catalog() -> Request {
    Request::get("/api/catalog")
}

/// Which version of the catalog answered.
fn version(response: &Response) -> String {
    let calls = &response.json()["upstream_calls"];
    let call = calls["http://catalog.istioinaction/items"].clone();
    call["version"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn a_request_takes_three_proxies_and_mutual_tls() {
    let mesh = Mesh::start(1);
    let response = mesh.send(&catalog());
    assert_eq!(response.status, 200, "{}", response.text());
    let report = response.json();
    assert_eq!(report["name"], "webapp");
    assert_eq!(version(&response), "v1");
    let printed = mesh.process.lines(Output::Stdout).join("\n");
    for part in [
        "control plane",
        &format!("http://{} for port 80", mesh.gateway),
        "webapp-",
        "curl http://",
        "proxy-status",
        "proxy-config route webapp",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }

    // the same request in the access logs of three proxies
    let logged = eventually("the gateway logs the request", || {
        mesh.access_log("istio-ingressgateway").pop()
    });
    let id = logged
        .split('"')
        .find(|part| part.len() == 36 && part.matches('-').count() == 4);
    let id = id
        .unwrap_or_else(|| panic!("no request id: {logged}"))
        .to_owned();
    for (workload, times) in [("webapp", 2), ("catalog-v1", 1)] {
        eventually(&format!("{workload} logs the request"), || {
            let lines = mesh.access_log(workload);
            let same = lines.iter().filter(|line| line.contains(&id)).count();
            (same == times).then_some(())
        });
    }

    // mutual TLS, as the server's side counts it
    let series = eventually("the catalog counts the request", || {
        let metrics = mesh.metrics("catalog-v1");
        let mut lines = metrics
            .lines()
            .filter(|line| line.starts_with("istio_requests_total{"));
        lines
            .find(|line| line.contains("reporter=\"destination\""))
            .map(str::to_owned)
    });
    for label in [
        "connection_security_policy=\"mutual_tls\"",
        "source_principal=\"spiffe://cluster.local/ns/istioinaction/sa/webapp\"",
        "source_workload=\"webapp\"",
        "destination_workload=\"catalog-v1\"",
        "destination_canonical_service=\"catalog\"",
        "response_code=\"200\"",
    ] {
        assert!(series.contains(label), "{label}: {series}");
    }
}

#[test]
fn the_tools_show_what_the_proxies_were_told() {
    let mesh = Mesh::start(2);
    let status = mesh.tool(&["proxy-status"]);
    let rows: Vec<_> = status.stdout.lines().collect();
    assert!(rows[0].starts_with("NAME"), "{}", status.stdout);
    assert_eq!(
        rows.len(),
        6,
        "gateway, webapp, two catalogs, forum: {}",
        status.stdout
    );
    for row in &rows[1..] {
        assert_eq!(row.matches("SYNCED").count(), 4, "{row}");
        assert!(!row.contains("STALE"), "{row}");
    }
    let one = mesh.tool(&["ps", "webapp"]).stdout;
    let compared = "\n\nClusters Match\nListeners Match\nRoutes Match\n";
    assert!(one.ends_with(compared), "{one}");
    assert_eq!(one.lines().count(), 6, "{one}");

    let cases: [(&[&str], &[&str]); 13] = [
        (
            &["proxy-config", "secret", "webapp"],
            &[
                "RESOURCE NAME",
                "\ndefault ",
                "Cert Chain     ACTIVE     true",
                "\nROOTCA ",
                "CA             ACTIVE     true",
            ],
        ),
        (
            &["pc", "all", "webapp"],
            &[
                "Istio Version: ",
                "SERVICE FQDN",
                "ADDRESSES",
                "VHOST NAME",
                "RESOURCE NAME",
                "OUTLIER CHECK",
            ],
        ),
        (
            &["pc", "secret", "webapp", "-o", "json"],
            &["\"dynamicActiveSecrets\"", "\"name\": \"ROOTCA\""],
        ),
        (
            &["proxy-config", "route", "webapp"],
            &[
                "catalog.istioinaction.svc.cluster.local:80",
                "outbound|80|version-v1|catalog.istioinaction.svc.cluster.local 100%",
                "catalog.istioinaction ",
            ],
        ),
        (
            &["pc", "r", "webapp", "-o", "json"],
            &["\"weightedClusters\"", "\"virtualHosts\""],
        ),
        (
            &["pc", "routes", "istio-ingressgateway", "-o", "yaml"],
            &["virtualHosts:"],
        ),
        (
            &["proxy-config", "listener", "webapp"],
            &[
                "ADDRESSES",
                "15080",
                "Route: http_proxy",
                "Cluster: inbound|8080||",
            ],
        ),
        (
            &["pc", "l", "webapp", "--port", "15080", "-o", "json"],
            &["\"portValue\": 15080"],
        ),
        (
            &["proxy-config", "cluster", "webapp", "--fqdn", "catalog"],
            &[
                "SERVICE FQDN",
                "version-v1",
                "version-v2",
                "EDS",
                "catalog.istioinaction",
            ],
        ),
        (
            &[
                "proxy-config",
                "endpoint",
                "deployment/webapp.istioinaction",
            ],
            &[
                "ENDPOINT",
                ":3000",
                "HEALTHY",
                "OK",
                "outbound|80|version-v1|catalog",
            ],
        ),
        (&["pc", "b", "webapp"], &["\"bootstrap\"", "sidecar~"]),
        (
            &["pc", "log", "webapp"],
            &["active loggers:", "http: warning"],
        ),
        (
            &["pc", "log", "webapp", "--level", "http:debug"],
            &["http: debug", "tls: warning"],
        ),
    ];
    for (arguments, parts) in cases {
        let answer = mesh.tool(arguments);
        for part in parts {
            assert!(
                answer.stdout.contains(part),
                "{arguments:?}: {part}: {answer:?}"
            );
        }
    }

    let refused: [(&[&str], &str); 3] = [
        (&["pc", "route", "web"], "no proxy web; there are "),
        (&["pc", "route", "catalog"], "catalog is ambiguous"),
        (&["ps", "nobody"], "no proxy nobody"),
    ];
    for (arguments, part) in refused {
        let answer = mesh.try_tool(arguments);
        assert_eq!(answer.code, Some(1), "{arguments:?}");
        assert!(
            answer.stderr.contains(part),
            "{arguments:?}: {}",
            answer.stderr
        );
        assert!(answer.stderr.starts_with("Error: "), "{}", answer.stderr);
    }
}

#[test]
fn weights_change_under_load_and_no_request_fails() {
    let mesh = Mesh::start(3);
    let load = Load::classified(mesh.gateway, catalog(), 4, version);
    eventually("the load runs", || {
        (load.report().responses() > 50).then_some(())
    });
    assert_eq!(
        load.report().classes.len(),
        1,
        "v1 alone: {:?}",
        load.report()
    );

    let weighted = WEIGHTS
        .replace("weight: 100", "weight: 90")
        .replace("weight: 0", "weight: 10");
    mesh.edit("routing.yaml", |text| text.replace(WEIGHTS, &weighted));
    mesh.within_a_second_or_two("some of it goes to v2", || {
        load.report().classes.contains_key("v2").then_some(())
    });
    let before = load.take_report();
    eventually("enough is seen", || {
        (load.report().responses() > 600).then_some(())
    });
    let report = load.take_report();
    let v2 = report.classes["v2"] as f64 / report.responses() as f64;
    assert!(
        (0.05..0.16).contains(&v2),
        "a tenth is expected, {v2} goes to v2"
    );
    let route = mesh.tool(&["proxy-config", "route", "webapp"]);
    for part in ["svc.cluster.local 90%", "svc.cluster.local 10%"] {
        assert!(route.stdout.contains(part), "{part}: {}", route.stdout);
    }

    mesh.restore("routing.yaml");
    mesh.within_a_second_or_two("all of it goes to v1 again", || {
        let _ = load.take_report();
        let report = eventually("more is seen", || {
            let report = load.report();
            (report.responses() > 20).then_some(report)
        });
        (!report.classes.contains_key("v2")).then_some(())
    });
    let connections = before.connections;
    for part in [before, report, load.stop()] {
        assert!(part.errors.is_empty(), "{:?}", part.errors);
        assert_eq!(part.status(200), part.responses(), "{:?}", part.statuses);
    }
    assert_eq!(connections, 4, "no connection was cut");
}

#[test]
fn a_header_launches_in_the_dark() {
    let mesh = Mesh::start(4);
    let dark = "  - match:\n    - headers:\n        x-dark-launch:\n          exact: v2\n    route:\n    - destination:\n        host: catalog\n        subset: version-v2\n";
    mesh.edit("routing.yaml", |text| {
        let (before, after) = text.rsplit_once("  http:\n").unwrap();
        format!("{before}  http:\n{dark}{after}")
    });
    let asked = catalog().header("x-dark-launch", "v2");
    mesh.within_a_second_or_two("who asks gets v2", || {
        (version(&mesh.send(&asked)) == "v2").then_some(())
    });
    for _ in 0..10 {
        assert_eq!(version(&mesh.send(&catalog())), "v1");
        assert_eq!(version(&mesh.send(&asked)), "v2");
    }
    let route = mesh.tool(&["proxy-config", "route", "webapp"]);
    assert!(
        route.stdout.contains("x-dark-launch = v2"),
        "{}",
        route.stdout
    );
}

#[test]
fn a_missing_subset_is_no_cluster_and_said_so() {
    let mesh = Mesh::start(5);
    mesh.edit("routing.yaml", |text| text.replace(SUBSET_V1, ""));
    mesh.within_a_second_or_two("the catalog cannot be reached", || {
        let report = mesh.send(&catalog()).json();
        let call = &report["upstream_calls"]["http://catalog.istioinaction/items"];
        (call["code"] == 503).then_some(())
    });
    eventually("the access log has the flag", || {
        mesh.send(&catalog());
        let mut lines = mesh.access_log("webapp").into_iter();
        lines.find(|line| line.contains("\"GET /items HTTP/1.1\" 503 NC "))
    });
    let clusters = mesh.tool(&[
        "proxy-config",
        "cluster",
        "webapp",
        "--fqdn",
        "catalog.istioinaction.svc.cluster.local",
    ]);
    assert!(
        clusters.stdout.contains("version-v2"),
        "{}",
        clusters.stdout
    );
    assert!(
        !clusters.stdout.contains("version-v1"),
        "{}",
        clusters.stdout
    );
    let note = "refers to cluster outbound|80|version-v1|catalog.istioinaction.svc.cluster.local which does not exist: no DestinationRule for catalog.istioinaction.svc.cluster.local defines subset version-v1";
    assert!(clusters.stderr.contains(note), "{}", clusters.stderr);

    mesh.restore("routing.yaml");
    mesh.within_a_second_or_two("the subset is back", || {
        (version(&mesh.send(&catalog())) == "v1").then_some(())
    });
    assert_eq!(mesh.tool(&["pc", "c", "webapp"]).stderr, "");
}

#[test]
fn a_broken_file_is_told_and_changes_nothing() {
    let mut mesh = Mesh::start(6);
    let broken: [(&str, &str, &str); 3] = [
        (
            "weight: 100",
            "weight: -1",
            "VirtualService istioinaction/catalog: spec.http[0].route[0].weight: -1",
        ),
        (
            "weight: 100",
            "wieght: 100",
            "VirtualService istioinaction/catalog: spec.http[0].route[0].wieght: unknown field; did you mean `weight`?",
        ),
        (
            "  hosts:\n  - catalog",
            "  hosts: [catalog",
            "routing.yaml:",
        ),
    ];
    for (good, bad, told) in broken {
        mesh.edit("routing.yaml", |text| text.replace(good, bad));
        let is_it = |line: &str| line.starts_with("error: ") && line.contains(told);
        let line = mesh
            .process
            .wait_for_line(Duration::from_secs(10), is_it)
            .unwrap();
        let place = line
            .split("routing.yaml:")
            .nth(1)
            .and_then(|rest| rest.split(':').next());
        let number: u32 = place
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("no line: {line}"));
        assert!(number > 1, "{line}");
        for _ in 0..5 {
            assert_eq!(version(&mesh.send(&catalog())), "v1");
        }
        assert_eq!(mesh.tool(&["ps"]).stdout.matches("STALE").count(), 0);
        let resolved = mesh.count_lines("resolved: ");
        mesh.restore("routing.yaml");
        eventually("it is resolved", || {
            (mesh.count_lines("resolved: ") > resolved).then_some(())
        });
    }
}

#[test]
fn pods_follow_their_deployments() {
    let mut mesh = Mesh::start(7);
    let forum = Request::get("/api/users");
    let load = Load::classified(mesh.gateway, forum.clone(), 2, |response| {
        let text = response.text();
        if text.contains("Ingrid") {
            "new"
        } else {
            "old"
        }
        .to_owned()
    });
    // a changed template: the new pod takes over before the old one goes
    mesh.edit("apps.yaml", |text| text.replace("Mateus", "Ingrid"));
    eventually("the new forum answers", || {
        load.report().classes.contains_key("new").then_some(())
    });
    mesh.process
        .wait_for_line(Duration::from_secs(20), |line| {
            line.starts_with("forum-") && line.ends_with("has stopped")
        })
        .unwrap();
    let report = load.stop();
    assert!(report.all_ok(), "{:?} {:?}", report.statuses, report.errors);

    // a Deployment that goes
    mesh.edit("apps.yaml", |text| {
        let (before, _) = text.rsplit_once("---\n").unwrap();
        before.to_owned()
    });
    eventually("its proxy is gone", || {
        let status = mesh.tool(&["ps"]).stdout;
        (!status.contains("forum")).then_some(())
    });
    assert_eq!(mesh.send(&catalog()).status, 200);
    mesh.restore("apps.yaml");
    eventually("it is back", || {
        (mesh.send(&forum).status == 200).then_some(())
    });

    // a process that dies is started again
    let victim = mesh.process_of("agent router");
    kill(victim);
    mesh.process
        .wait_for_text(Duration::from_secs(10), "it is started again in")
        .unwrap();
    eventually("the gateway is back", || {
        mesh.try_send(&catalog())
            .filter(|it| it.status == 200)
            .map(drop)
    });
}

#[test]
fn one_mesh_at_a_time_on_the_same_addresses() {
    let mesh = Mesh::start(8);
    let cases = [
        (mesh.state_dir(), "already running as process"),
        (
            mesh.directory.path().join("another"),
            "is taken: another mesh runs on",
        ),
    ];
    for (state_dir, expected) in cases {
        let mut second = mesh.command(&state_dir);
        let answer = Tool::run(second.arg("--loopback").arg(mesh.loopback()));
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(
            answer.stderr.contains(expected),
            "{expected}: {}",
            answer.stderr
        );
    }
    assert_eq!(mesh.send(&catalog()).status, 200);
}

#[test]
fn the_end_leaves_nothing_behind() {
    for (number, signal) in [(9, Signal::SIGINT), (10, Signal::SIGKILL)] {
        let mut mesh = Mesh::start(number);
        let children = mesh.children();
        assert_eq!(children.len(), 9, "five proxies, four applications");
        assert_eq!(mesh.send(&catalog()).status, 200);
        let status = mesh.process.stop(signal, Duration::from_secs(20)).unwrap();
        eventually("every process is gone", || {
            children.iter().all(|pid| !is_alive(*pid)).then_some(())
        });
        if signal == Signal::SIGINT {
            assert!(status.success(), "{status}");
            let left: Vec<_> = std::fs::read_dir(mesh.state_dir())
                .unwrap()
                .flatten()
                .collect();
            let mut left: Vec<_> = left.iter().map(|it| it.file_name()).collect();
            left.sort();
            assert_eq!(left, ["ca", "logs"], "what a named directory keeps");
        }
    }
}

#[test]
fn the_tools_need_no_mesh_to_be_of_use() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.yaml");
    let routing = std::fs::read_to_string(Mesh::example().join("routing.yaml")).unwrap();
    std::fs::write(&bad, routing.replace("weight: 100", "weight: -1")).unwrap();
    let bootstrap = directory.path().join("bootstrap.yaml");
    std::fs::write(&bootstrap, "static_resources: {}\n").unwrap();
    let wrong = directory.path().join("wrong.yaml");
    std::fs::write(&wrong, "static_resources: {listners: []}\n").unwrap();
    let text = |path: &std::path::Path| path.display().to_string();
    let cases: [(Vec<String>, i32, String); 12] = [
        (
            vec!["validate".into(), "-f".into(), text(&Mesh::example())],
            0,
            "resources are valid".into(),
        ),
        (
            vec!["validate".into(), "-f".into(), text(&bad)],
            1,
            "bad.yaml:51: VirtualService istioinaction/catalog".into(),
        ),
        (
            vec![
                "proxy".into(),
                "--mode".into(),
                "validate".into(),
                "-c".into(),
                text(&bootstrap),
            ],
            0,
            format!("configuration '{}' OK", text(&bootstrap)),
        ),
        (
            vec![
                "proxy".into(),
                "--mode".into(),
                "validate".into(),
                "-c".into(),
                text(&wrong),
            ],
            1,
            "static_resources.listners".into(),
        ),
        (
            vec!["analyze".into(), text(&Mesh::example())],
            0,
            "No validation issues found".into(),
        ),
        (
            vec!["analyze".into(), text(&bad)],
            79,
            format!(
                "Error [IST0106] (VirtualService istioinaction/catalog {}:51) Schema validation",
                text(&bad)
            ),
        ),
        (
            vec!["analyze".into(), "-o".into(), "json".into(), text(&bad)],
            0,
            "\"documentationUrl\": \"https://istio.io/latest/docs/reference/config/analysis/ist0106/\"".into(),
        ),
        (vec!["version".into()], 0, "meltemi 0.".into()),
        (
            vec!["completion".into(), "bash".into()],
            0,
            "proxy-config".into(),
        ),
        (
            vec!["proxy-config".into(), "--help".into()],
            0,
            "Examples:".into(),
        ),
        (
            vec![
                "proxy-status".into(),
                "--state-dir".into(),
                text(directory.path()),
                "--discovery-address".into(),
                "127.0.0.1:1".into(),
            ],
            1,
            "no control plane answers at 127.0.0.1:1".into(),
        ),
        (vec!["up".into()], 2, "<DIR>".into()),
    ];
    for (arguments, code, part) in cases {
        let answer = Tool::run(meltemi().args(&arguments));
        assert_eq!(answer.code, Some(code), "{arguments:?}: {answer:?}");
        let all = format!("{}{}", answer.stdout, answer.stderr);
        assert!(all.contains(&part), "{arguments:?}: {part}: {all}");
    }
    let mut empty = Process::start(
        meltemi()
            .args(["up", &text(directory.path())])
            .args(["--state-dir", &text(&directory.path().join("state"))]),
    )
    .unwrap();
    let status = empty.wait_exit(Duration::from_secs(20)).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        empty.output().contains("nothing to run"),
        "{}",
        empty.output()
    );
}

fn kill(pid: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}
