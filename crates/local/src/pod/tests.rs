#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meltemi_model::{
    Config, Defaults, MeshConfig, ProxyConfig, StartSettings, convert, effective_proxy_config,
};

use super::environment::{Values, expand, listen_addresses};
use super::{PlanContext, Pod, PodPlan, ProcessPlan, ProxyKind, ProxySettings, plan};
use crate::settings::{ImageCommand, Settings};

struct Nothing;

impl Values for Nothing {
    fn config_map(&self, _: &str, name: &str, key: &str) -> Option<String> {
        (name == "settings" && key == "greeting").then(|| "hello".to_owned())
    }

    fn secret(&self, _: &str, _: &str, _: &str) -> Option<String> {
        None
    }
}

/// The plan of a pod whose containers are `containers`, with images mapped as given.
fn planned(containers: &str, proxy: ProxyKind, settings: &Settings) -> (PodPlan, Vec<String>) {
    let own = "{concurrency: 3, terminationDrainDuration: 7s}";
    planned_with(own, containers, proxy, settings)
}

/// The same with an annotation of its proxy's settings.
fn planned_with(
    own: &str,
    containers: &str,
    proxy: ProxyKind,
    settings: &Settings,
) -> (PodPlan, Vec<String>) {
    let yaml = format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {{app: web, version: v1}}
  annotations: {{proxy.istio.io/config: '{own}'}}
spec:
  serviceAccountName: clerk
  containers: {containers}
"
    );
    let documents = meltemi_api::parse(None, &yaml).unwrap();
    let Config::Pod(mut workload) = convert(&documents[0], &Defaults::default()).unwrap() else {
        panic!("a pod");
    };
    workload.addresses = vec!["127.77.1.1".parse().unwrap()];
    let application: IpAddr = "127.77.129.1".parse().unwrap();
    workload.application_address = (proxy == ProxyKind::Sidecar).then_some(application);
    let proxy_settings = ProxySettings {
        discovery: "127.77.0.1:15012".parse().unwrap(),
        root_cert: PathBuf::from("/state/root.pem"),
        trust_domain: "cluster.local".to_owned(),
        tokens: PathBuf::from("/state/tokens"),
        concurrency: 1,
        drain_seconds: 2,
        log_level: "warning".to_owned(),
    };
    let inherited = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let mesh = MeshConfig {
        default_config: ProxyConfig {
            concurrency: Some(5),
            termination_drain_duration: Some(Duration::from_secs(9)),
            proxy_metadata: BTreeMap::from([
                ("ECC_CURVE".to_owned(), "P384".to_owned()),
                ("POD_NAME".to_owned(), "other".to_owned()),
            ]),
            start: StartSettings {
                extra_stat_tags: vec!["team".to_owned()],
                ..StartSettings::default()
            },
            ..ProxyConfig::default()
        },
        ..MeshConfig::default()
    };
    let context = PlanContext {
        executable: Path::new("/bin/meltemi"),
        settings,
        inherited: &inherited,
        proxy: &proxy_settings,
        proxy_config: &|workload| effective_proxy_config(&mesh, [], workload),
        values: &Nothing,
    };
    let pod = Pod {
        workload: Arc::new(*workload),
        proxy,
    };
    plan(&pod, &context)
}

fn only_application(plan: &PodPlan) -> &ProcessPlan {
    let mut applications = plan.processes.iter().filter(|it| it.name != "proxy");
    let first = applications.next().unwrap();
    assert!(applications.next().is_none());
    first
}

#[test]
fn an_image_is_stood_in_for() {
    let containers = "[{name: web, image: acme/web, ports: [{containerPort: 8080}]}]";
    let (plan, missing) = planned(containers, ProxyKind::Sidecar, &Settings::default());
    assert!(missing.is_empty(), "{missing:?}");
    let app = only_application(&plan);
    assert_eq!(
        (app.program.as_path(), &app.args[..]),
        (Path::new("/bin/meltemi"), &["app".to_owned()][..])
    );
    let expected = [
        ("LISTEN_ADDR", "127.77.129.1:8080"),
        ("NAME", "web"),
        ("VERSION", "v1"),
        ("POD_NAME", "web-1"),
        ("POD_IP", "127.77.1.1"),
        ("http_proxy", "http://127.77.1.1:15080"),
        ("no_proxy", "127.0.0.1,localhost"),
    ];
    for (name, value) in expected {
        assert_eq!(app.env[name], value, "{name}");
    }
    assert_eq!(plan.listens, ["127.77.129.1:8080".parse().unwrap()]);
}

#[test]
fn a_proxy_is_told_what_the_mesh_says_and_who_it_is() {
    let containers = "[{name: web, image: acme/web}]";
    let (plan, _) = planned(containers, ProxyKind::Sidecar, &Settings::default());
    let env = &plan.processes[0].env;
    assert_eq!(env["ECC_CURVE"], "P384");
    assert_eq!(env["POD_NAME"], "web-1", "who it is goes before");
    assert!(env["MELTEMI_PROXY_CONFIG"].contains("\"extraStatTags\":[\"team\"]"));
}

#[test]
fn a_pod_without_a_sidecar_has_one_address_and_no_proxy() {
    let containers = "[{name: web, image: acme/web, ports: [{containerPort: 8080}]}]";
    let (plan, _) = planned(containers, ProxyKind::None, &Settings::default());
    let app = only_application(&plan);
    assert_eq!(plan.processes.len(), 1);
    assert_eq!(app.env["LISTEN_ADDR"], "127.77.1.1:8080");
    assert!(!app.env.contains_key("http_proxy"));
    assert_eq!(plan.admin, None);
}

#[test]
fn the_agent_is_told_who_it_is() {
    let (plan, _) = planned(
        "[{name: web, image: x}]",
        ProxyKind::Sidecar,
        &Settings::default(),
    );
    let agent = &plan.processes[0];
    assert_eq!(agent.args[..2], ["agent", "sidecar"]);
    for flag in [
        "--discovery=127.77.0.1:15012",
        "--token=/state/tokens/clerk.shop",
        "--admin=127.77.1.1:15000",
    ] {
        assert!(
            agent.args.iter().any(|it| it == flag),
            "{flag}: {:?}",
            agent.args
        );
    }
    assert_eq!(
        agent.env["ISTIO_METAJSON_LABELS"],
        r#"{"app":"web","version":"v1"}"#
    );
    assert_eq!(agent.env["MELTEMI_APP_ADDRESS"], "127.77.129.1");
}

#[test]
fn a_command_that_is_here_runs_as_it_is() {
    let containers = "
  - name: web
    image: acme/web
    command: [sh, -c, 'serve $(APPLICATION_IP) $(GREETING) $$(NAME)']
    ports: [{containerPort: 8080}]
    env:
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: none, key: none}}}
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}
    - {name: LISTEN_ADDR, value: '0.0.0.0:8080'}
";
    let (plan, missing) = planned(containers, ProxyKind::Sidecar, &Settings::default());
    let app = only_application(&plan);
    assert!(app.program.ends_with("sh"), "{:?}", app.program);
    assert_eq!(app.args, ["-c", "serve 127.77.129.1 hello $(NAME)"]);
    assert_eq!(app.env["WHO"], "web");
    assert_eq!(app.env["LISTEN_ADDR"], "127.77.129.1:8080");
    assert_eq!(
        missing,
        ["web: variable PASSWORD: Secret shop/none has no text under none"]
    );
}

#[test]
fn an_image_may_have_a_command_here() {
    let settings = |program: &str| Settings {
        images: BTreeMap::from([(
            "acme/web".to_owned(),
            ImageCommand {
                command: vec![program.to_owned(), "run".to_owned()],
                env: BTreeMap::from([("MODE".to_owned(), "local".to_owned())]),
                working_dir: None,
            },
        )]),
        ..Settings::default()
    };
    let containers = "[{name: web, image: acme/web, command: [/web], args: [--fast], ports: [{containerPort: 1}]}]";
    let (plan, missing) = planned(containers, ProxyKind::Sidecar, &settings("env"));
    let app = only_application(&plan);
    assert_eq!(
        (app.args.join(" "), missing.len()),
        ("run --fast".to_owned(), 0)
    );
    assert_eq!(app.env["MODE"], "local");
    let (plan, missing) = planned(containers, ProxyKind::Sidecar, &settings("no-such-program"));
    assert_eq!(only_application(&plan).args, ["app"]);
    assert_eq!(
        missing,
        ["web: images.acme/web.command: no program no-such-program"]
    );
}

#[test]
fn a_stand_in_without_ports_is_left_out() {
    let containers =
        "[{name: web, image: a, ports: [{containerPort: 1}]}, {name: helper, image: b}]";
    let (plan, missing) = planned(containers, ProxyKind::Sidecar, &Settings::default());
    assert_eq!(only_application(&plan).name, "web");
    assert!(missing.is_empty(), "{missing:?}");
    let (plan, missing) = planned(
        "[{name: helper, image: b}]",
        ProxyKind::Sidecar,
        &Settings::default(),
    );
    assert_eq!(plan.processes.len(), 1, "the proxy alone");
    assert_eq!(missing, ["helper: it declares no port"]);
}

#[test]
fn a_gateway_is_its_proxy() {
    let (plan, _) = planned(
        "[{name: istio-proxy, image: auto}]",
        ProxyKind::Router,
        &Settings::default(),
    );
    assert_eq!(plan.processes.len(), 1);
    assert_eq!(plan.processes[0].args[1], "router");
    assert!(plan.listens.is_empty());
}

#[test]
fn references_are_replaced() {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let cases = [
        ("$(A)$(A)", "11"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(expand(text, &env), expected, "{text}");
    }
}

#[test]
fn everywhere_becomes_the_own_address() {
    let ip: IpAddr = "127.77.129.1".parse().unwrap();
    let cases = [
        ("0.0.0.0:80", "127.77.129.1:80"),
        (":80, localhost:81", "127.77.129.1:80,127.77.129.1:81"),
        ("[::]:80", "127.77.129.1:80"),
        ("127.5.5.5:80", "127.5.5.5:80"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ];
    for (text, expected) in cases {
        assert_eq!(listen_addresses(text, ip), expected, "{text}");
    }
}

#[test]
fn a_proxy_is_started_as_its_pod_and_the_mesh_say() {
    for (own, wanted) in [
        (
            "{concurrency: 3, terminationDrainDuration: 7s}",
            ["--concurrency=3", "--drain-time-s=7"],
        ),
        ("{concurrency: 3}", ["--concurrency=3", "--drain-time-s=9"]),
        ("{}", ["--concurrency=5", "--drain-time-s=9"]),
        ("{concurrency: 0}", ["--concurrency=0", "--drain-time-s=9"]),
        (
            "{proxyAdminPort: 15500, statusPort: 15520}",
            ["--admin=127.77.1.1:15500", "--status-port=15520"],
        ),
    ] {
        let (plan, _) = planned_with(
            own,
            "[{name: web, image: acme/web}]",
            ProxyKind::Sidecar,
            &Settings::default(),
        );
        let args = &plan.processes[0].args;
        for wanted in wanted {
            assert!(args.iter().any(|it| it == wanted), "{wanted}: {args:?}");
        }
    }
}
