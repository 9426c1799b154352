#![allow(clippy::unwrap_used)]

use std::time::Duration;

use meltemi_api::{
    authorization_policy, destination_rule, envoy_filter, gateway, mesh_config,
    peer_authentication, proxy_config, request_authentication, service_entry, sidecar, telemetry,
    virtual_service,
};

use crate::check::parse_duration;
use crate::{
    BalancerPolicy, ClientTls, Config, Defaults, Hostname, Injection, Kind, LoadBalancer,
    PolicySettings, PortPolicy, Protocol, Support, Timestamp, TrafficPolicy, convert,
    readiness_probe_of_agent, support,
};

#[test]
fn durations_as_go_and_protobuf_write_them() {
    for (text, millis) in [
        ("50ms", 50),
        ("0.5s", 500),
        ("1m30s", 90_000),
        ("1.5h", 5_400_000),
        (".5s", 500),
        ("1s", 1000),
        ("1000us", 1),
        ("0", 0),
        ("0s", 0),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
    for text in [
        "",
        "5",
        "s",
        "1x",
        "-1s",
        "1.2.3s",
        "1 s",
        "1s ",
        "99999999999999999999h",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn times() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2024-02-29T12:30:15Z", Some(1_709_209_815)),
        ("2024-02-29T12:30:15.123456Z", Some(1_709_209_815)),
        ("2024-02-29T14:30:15+02:00", Some(1_709_209_815)),
        ("2024-02-29T12:30:15", None),
        ("2024-13-01T00:00:00Z", None),
        ("yesterday", None),
    ] {
        assert_eq!(Timestamp::parse(text), seconds.map(Timestamp), "{text}");
    }
}

#[test]
fn host_names_hold_one_another() {
    let host = Hostname::new;
    for (outer, inner, holds) in [
        ("*", "a.com", true),
        ("*", "*.com", true),
        ("*.com", "a.com", true),
        ("*.com", "b.a.com", true),
        ("*.com", "*.a.com", true),
        ("*.com", "com", false),
        ("*.com", ".com", false),
        ("*.a.com", "*.com", false),
        ("a.com", "A.com", true),
        ("a.com", "*.com", false),
        ("*-b.com", "a-b.com", true),
    ] {
        assert_eq!(host(outer).contains(&host(inner)), holds, "{outer} {inner}");
    }
    let mut hosts = ["*", "*.com", "b.a.com", "*.a.com", "a.com"].map(host);
    hosts.sort_by(Hostname::by_specificity);
    assert_eq!(
        hosts,
        ["a.com", "b.a.com", "*.a.com", "*.com", "*"].map(host)
    );
}

#[test]
fn protocols_of_ports() {
    for (name, app, udp, protocol) in [
        ("http", None, false, Protocol::Http),
        ("http-web", None, false, Protocol::Http),
        ("HTTP2-a", None, false, Protocol::Http2),
        ("grpc-web", None, false, Protocol::GrpcWeb),
        ("grpc-web-a", None, false, Protocol::GrpcWeb),
        ("grpc-a", None, false, Protocol::Grpc),
        ("httpx", None, false, Protocol::Auto),
        ("", None, false, Protocol::Auto),
        ("tcp", Some("http"), false, Protocol::Http),
        ("tcp", Some("kubernetes.io/h2c"), false, Protocol::Http2),
        ("http", Some("example.com/own"), false, Protocol::Auto),
        ("http", None, true, Protocol::Udp),
        ("mysql", None, false, Protocol::Mysql),
    ] {
        assert_eq!(
            Protocol::of_port(8080, name, app, udp),
            protocol,
            "{name} {app:?}"
        );
    }
}

#[test]
fn injection_is_asked_for_and_refused() {
    use Injection::{Disabled, Enabled, Unset};
    for (namespace, workload, injected) in [
        (Unset, Unset, false),
        (Enabled, Unset, true),
        (Enabled, Disabled, false),
        (Unset, Enabled, true),
        (Disabled, Enabled, false),
    ] {
        assert_eq!(Injection::decide(namespace, workload), injected);
    }
}

#[test]
fn subset_and_port_policies_refine_as_in_istio() {
    let balancer = |policy: BalancerPolicy| {
        Some(LoadBalancer {
            policy,
            ..LoadBalancer::default()
        })
    };
    let settings = |policy: Option<BalancerPolicy>| PolicySettings {
        load_balancer: policy.and_then(balancer),
        ..PolicySettings::default()
    };
    let port = |policy| PortPolicy {
        port: 80,
        settings: settings(policy),
    };
    let chosen = |policy: &TrafficPolicy, port| {
        let settings = policy.for_port(port).load_balancer.clone();
        settings.map(|it| it.policy)
    };
    let rule = TrafficPolicy {
        settings: PolicySettings {
            tls: Some(ClientTls::Disable),
            ..settings(Some(BalancerPolicy::Random))
        },
        ports: vec![port(Some(BalancerPolicy::Passthrough))],
        ..TrafficPolicy::default()
    };
    assert_eq!(chosen(&rule, 80), Some(BalancerPolicy::Passthrough));
    assert_eq!(rule.for_port(80).tls, None, "a port inherits nothing");
    let subset = TrafficPolicy {
        settings: settings(Some(BalancerPolicy::RoundRobin)),
        ..TrafficPolicy::default()
    };
    let refined = rule.refined_by(&subset);
    assert_eq!(chosen(&refined, 81), Some(BalancerPolicy::RoundRobin));
    assert_eq!(refined.for_port(81).tls, Some(ClientTls::Disable));
    assert_eq!(chosen(&refined, 80), Some(BalancerPolicy::RoundRobin));
    let subset = TrafficPolicy {
        ports: vec![port(None)],
        ..subset
    };
    assert_eq!(chosen(&rule.refined_by(&subset), 80), None);
}

/// The fields of the specs, as the types of `api` have them.
fn fields() -> Vec<(Kind, String)> {
    let kinds = [
        (
            Kind::Gateway,
            meltemi_api::field_paths::<gateway::GatewaySpec>("spec"),
        ),
        (
            Kind::VirtualService,
            meltemi_api::field_paths::<virtual_service::VirtualServiceSpec>("spec"),
        ),
        (
            Kind::DestinationRule,
            meltemi_api::field_paths::<destination_rule::DestinationRuleSpec>("spec"),
        ),
        (
            Kind::ServiceEntry,
            meltemi_api::field_paths::<service_entry::ServiceEntrySpec>("spec"),
        ),
        (
            Kind::WorkloadEntry,
            meltemi_api::field_paths::<service_entry::WorkloadEntrySpec>("spec"),
        ),
        (
            Kind::WorkloadGroup,
            meltemi_api::field_paths::<service_entry::WorkloadGroupSpec>("spec"),
        ),
        (
            Kind::Sidecar,
            meltemi_api::field_paths::<sidecar::SidecarSpec>("spec"),
        ),
        (
            Kind::PeerAuthentication,
            meltemi_api::field_paths::<peer_authentication::PeerAuthenticationSpec>("spec"),
        ),
        (
            Kind::EnvoyFilter,
            meltemi_api::field_paths::<envoy_filter::EnvoyFilterSpec>("spec"),
        ),
        (
            Kind::ProxyConfig,
            meltemi_api::field_paths::<proxy_config::ProxyConfigSpec>("spec"),
        ),
        (
            Kind::Telemetry,
            meltemi_api::field_paths::<telemetry::TelemetrySpec>("spec"),
        ),
        (
            Kind::RequestAuthentication,
            meltemi_api::field_paths::<request_authentication::RequestAuthenticationSpec>("spec"),
        ),
        (
            Kind::AuthorizationPolicy,
            meltemi_api::field_paths::<authorization_policy::AuthorizationPolicySpec>("spec"),
        ),
        (
            Kind::MeshConfig,
            meltemi_api::field_paths::<mesh_config::MeshConfig>(""),
        ),
    ];
    let flat = kinds
        .into_iter()
        .flat_map(|(kind, paths)| paths.into_iter().map(move |it| (kind, it)));
    flat.collect()
}

fn holds(row: &str, path: &str) -> bool {
    path.strip_prefix(row)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let (rows, fields) = (support(), fields());
    for (kind, path) in &fields {
        let found = rows
            .iter()
            .any(|row| row.kind == *kind && holds(row.path, path));
        assert!(found, "{kind} {path} has no row in the support table");
    }
    let kinds = [
        Kind::Gateway,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::MeshConfig,
    ];
    for row in rows.iter().filter(|row| kinds.contains(&row.kind)) {
        let found = fields
            .iter()
            .any(|(kind, path)| *kind == row.kind && holds(row.path, path));
        assert!(
            found,
            "{} {} is in the support table and in no type",
            row.kind, row.path
        );
    }
}

/// A resource in which only the field at `path` is written, as an empty map.
fn resource_with(kind: Kind, path: &str) -> String {
    let mut text = String::from("{}");
    for step in path.rsplit('.') {
        text = match step.strip_suffix("[]") {
            Some(name) => format!("{{{name}: [{text}]}}"),
            None => format!("{{{step}: {text}}}"),
        };
    }
    if kind == Kind::MeshConfig {
        let head =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}";
        return format!("{head}\ndata:\n  mesh: |-\n    {text}\n");
    }
    let spec = text
        .strip_prefix("{spec: ")
        .unwrap()
        .strip_suffix('}')
        .unwrap();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"
    )
}

#[test]
fn rejected_fields_are_rejected_and_harmless_ones_are_not() {
    for row in support() {
        // Rows of text and of switches are covered by the cases.
        let refused = match (row.kind, row.state) {
            (Kind::MeshConfig | Kind::VirtualService | Kind::DestinationRule, state) => match state
            {
                Support::Rejected => true,
                Support::Harmless => false,
                Support::Supported => continue,
            },
            _ => continue,
        };
        let text = resource_with(row.kind, row.path);
        let documents = meltemi_api::parse(None, &text).unwrap();
        let path = row.path.replace("[]", "[0]");
        let problems = convert(&documents[0], &Defaults::default())
            .err()
            .unwrap_or_default();
        let found = problems.iter().find(|problem| {
            problem
                .path
                .as_ref()
                .is_some_and(|it| it.to_string().ends_with(&path))
        });
        assert_eq!(
            found.is_some(),
            refused,
            "{} {}: {problems:?}",
            row.kind,
            row.path
        );
    }
}

#[test]
fn the_health_of_an_entry_is_its_condition_where_it_is_checked() {
    let ready = |annotation: &str, status: &str| {
        let text = format!(
            "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{ name: vm, namespace: shop, annotations: {{ {annotation} }} }}
spec: {{ address: 10.0.0.7 }}
status: {{ conditions: [{status}] }}
"
        );
        let documents = meltemi_api::parse(None, &text).unwrap();
        let Config::WorkloadEntry(entry) = convert(&documents[0], &Defaults::default()).unwrap()
        else {
            panic!("an entry");
        };
        assert_eq!(entry.workload().ready, entry.is_ready());
        entry.is_ready()
    };
    let (on, off) = (
        "proxy.istio.io/health-checks-enabled: 'true'",
        "proxy.istio.io/health-checks-enabled: 'no'",
    );
    let (healthy, not) = (
        "{ type: Healthy, status: 'True' }",
        "{ type: Healthy, status: 'False' }",
    );
    for (annotation, status, expected) in [
        (on, healthy, true),
        (on, not, false),
        (on, "", false),
        (off, not, true),
        ("", not, true),
    ] {
        assert_eq!(ready(annotation, status), expected, "{annotation} {status}");
    }
}

#[test]
fn an_agents_probe_is_read_and_what_is_wrong_with_it_is_said() {
    let read = readiness_probe_of_agent;
    let probe = read(r#"{"readinessProbe": {"tcpSocket": {"port": 9080}}, "other": 1}"#);
    let probe = probe.unwrap().unwrap();
    assert_eq!(
        (probe.period, probe.failure_threshold),
        (Duration::from_secs(10), 3)
    );
    assert_eq!(read(r#"{"concurrency": -1}"#), Ok(None));
    let wrong = read(r#"{"readinessProbe": {"periodSeconds": 5}}"#).unwrap_err();
    assert_eq!(
        wrong,
        "readinessProbe: write one of httpGet, tcpSocket, exec, grpc"
    );
    let port = read(r#"{"readinessProbe": {"httpGet": {"port": 70000}}}"#).unwrap_err();
    assert!(port.starts_with("readinessProbe.httpGet.port: "), "{port}");
}

#[test]
fn times_are_written_as_they_are_read() {
    for text in [
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2000-02-29T12:30:45Z",
        "2023-11-14T22:13:20Z",
        "2100-03-01T00:00:00Z",
    ] {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
    }
}
