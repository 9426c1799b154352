//! The cool store run by hand: a control plane on its own, applications, sidecars of ours, and
//! wherever a test wants one, a stock Envoy.
//!
//! In: a part of 127.0.0.0/8. Out: a running mesh whose every process the test knows. The addresses
//! are `127.N.0.1` for the control plane, `127.N.1.P` for pods, `127.N.2.P` for the applications in
//! them. Called by `interop_control_plane`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use meltemi_ca::{CaDirectory, TokenIssuer};
use meltemi_lifecycle::Clock;
use meltemi_testkit::{Client, Process, Request, Response};
use serde_json::{Value, json};

use crate::admin::{STARTUP, ask};

/// How long the mesh may take to follow a change of a file.
const FOLLOWS: Duration = Duration::from_secs(5);

/// A workload of the store.
#[derive(Clone, Copy)]
pub struct Pod {
    /// Its name, and its workload's.
    pub name: &'static str,
    pub namespace: &'static str,
    pub service_account: &'static str,
    pub labels: &'static [(&'static str, &'static str)],
    /// The last number of its address.
    pub number: u8,
    /// Where its application listens; none for a gateway.
    pub port: Option<u16>,
}

const STORE: &str = "istioinaction";

/// The shop's front.
pub const WEBAPP: Pod = Pod {
    name: "webapp",
    namespace: STORE,
    service_account: "webapp",
    labels: &[("app", "webapp")],
    number: 1,
    port: Some(8080),
};

/// The catalog's two versions.
pub const CATALOGS: [Pod; 2] = [
    Pod {
        name: "catalog-v1",
        namespace: STORE,
        service_account: "catalog",
        labels: &[("app", "catalog"), ("version", "v1")],
        number: 2,
        port: Some(3000),
    },
    Pod {
        name: "catalog-v2",
        namespace: STORE,
        service_account: "catalog",
        labels: &[("app", "catalog"), ("version", "v2")],
        number: 3,
        port: Some(3000),
    },
];

/// The way in.
pub const GATEWAY: Pod = Pod {
    name: "istio-ingressgateway",
    namespace: "istio-system",
    service_account: "istio-ingressgateway",
    labels: &[("app", "istio-ingressgateway"), ("istio", "ingressgateway")],
    number: 4,
    port: None,
};

/// The form in which an Envoy is told its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// State of the world, Envoy's default.
    Sotw,
    /// Incremental.
    Delta,
}

/// How a workload's traffic comes to its proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interception {
    None,
    Redirect,
}

/// A control plane and the processes that a test started under it.
pub struct World {
    network: u8,
    directory: tempfile::TempDir,
    discovery: Process,
    processes: Vec<Process>,
    /// What agents are told beside what they are, by the pod's name.
    told: BTreeMap<&'static str, Vec<(&'static str, &'static str)>>,
    /// Tokens that somebody else made, by the pod's name.
    given: BTreeMap<&'static str, &'static str>,
}

/// A stock Envoy that stands in a pod, with the agent that gives it its identity.
pub struct Envoy {
    pub process: Process,
    pub admin: SocketAddr,
    _agent: Process,
}

impl World {
    /// Starts a control plane over a copy of the example, in which pods have addresses.
    pub fn start(network: u8, mesh_config: &Value) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/coolstore");
        let pods = [WEBAPP, CATALOGS[0], CATALOGS[1], GATEWAY];
        Self::of_files(network, mesh_config, &pods, |store| {
            for entry in std::fs::read_dir(example).unwrap().flatten() {
                if entry.path().extension().is_some_and(|it| it == "yaml") {
                    std::fs::copy(entry.path(), store.join(entry.file_name())).unwrap();
                }
            }
        })
    }

    /// Starts a control plane over these documents.
    pub fn over(network: u8, mesh_config: &Value, pods: &[Pod], documents: &[Value]) -> Self {
        let documents: Vec<_> = documents.iter().map(Value::to_string).collect();
        Self::of_files(network, mesh_config, pods, |store| {
            std::fs::write(store.join("mesh.yaml"), documents.join("\n---\n")).unwrap();
        })
    }

    /// Starts a control plane of a cluster, with this kubeconfig.
    pub fn of_cluster(network: u8, kubeconfig: &str) -> Self {
        Self::begin(network, |command, directory| {
            let file = directory.join("kubeconfig");
            std::fs::write(&file, kubeconfig).unwrap();
            command.arg("--kubeconfig").arg(file);
            let address = control_plane(network, 15017).to_string();
            command.args(["--https-addr", &address]);
        })
    }

    fn of_files(network: u8, mesh_config: &Value, pods: &[Pod], fill: impl FnOnce(&Path)) -> Self {
        Self::begin(network, |command, directory| {
            let store = directory.join("store");
            std::fs::create_dir(&store).unwrap();
            fill(&store);
            let pods = pods.iter().map(|pod| manifest(network, *pod).to_string());
            let pods: Vec<_> = pods.collect();
            std::fs::write(store.join("pods.yaml"), pods.join("\n---\n")).unwrap();
            let mesh = directory.join("mesh.json");
            std::fs::write(&mesh, mesh_config.to_string()).unwrap();
            command.arg("--config-dir").arg(store);
            command.arg("--mesh-config").arg(mesh);
        })
    }

    /// Starts a control plane with what is added to its command.
    fn begin(network: u8, configure: impl FnOnce(&mut Command, &Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = |port: u16| control_plane(network, port).to_string();
        let mut command = meltemi("discovery");
        configure(&mut command, directory.path());
        command.arg("--ca-dir").arg(directory.path().join("ca"));
        command.args([
            "--http-addr",
            &address(8080),
            "--monitoring-addr",
            &address(15014),
        ]);
        command.args([
            "--grpc-addr",
            &address(15010),
            "--secure-grpc-addr",
            &address(15012),
        ]);
        command.env("PILOT_WORKLOAD_ENTRY_GRACE_PERIOD", "1s");
        let mut discovery = Process::start(&mut command).unwrap();
        let http = control_plane(network, 8080);
        discovery.wait_for_http(STARTUP, http, "/ready").unwrap();
        Self {
            network,
            directory,
            discovery,
            processes: Vec::new(),
            told: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Gives the agent of a pod this environment when it starts.
    pub fn tell(&mut self, pod: Pod, environment: &[(&'static str, &'static str)]) {
        self.told.insert(pod.name, environment.to_vec());
    }

    /// Gives a pod a token that is not of the control plane's making.
    pub fn give(&mut self, pod: Pod, token: &'static str) {
        self.given.insert(pod.name, token);
    }

    /// Runs the sample workload of a pod.
    pub fn application(&mut self, pod: Pod, environment: &[(&str, &str)]) {
        let listen = self.application_address(pod);
        let mut command = meltemi("app");
        command
            .env("LISTEN_ADDR", listen.to_string())
            .env("POD_NAME", pod.name);
        command.env("http_proxy", format!("http://{}", self.address(pod, 15080)));
        command.envs(environment.iter().copied());
        self.processes.push(Process::start(&mut command).unwrap());
    }

    /// Runs our own sidecar of a pod.
    pub fn sidecar(&mut self, pod: Pod) {
        let process = self.begin_sidecar(pod);
        self.processes.push(process);
    }

    /// The same, for the test to end.
    pub fn begin_sidecar(&self, pod: Pod) -> Process {
        let admin = self.address(pod, 15000);
        let mut command = self.agent(pod);
        command
            .arg(format!("--admin={admin}"))
            .args(["--concurrency", "1"]);
        let mut process = Process::start(&mut command).unwrap();
        process.wait_for_http(STARTUP, admin, "/ready").unwrap();
        process
    }

    /// Runs a stock Envoy in the place of a pod's proxy.
    pub fn envoy(&self, binary: &Path, pod: Pod, form: Form, interception: Interception) -> Envoy {
        let socket = self.path(&format!("{}-{form:?}.sock", pod.name));
        let mut command = self.agent(pod);
        command.arg("--no-proxy").arg("--sds-socket").arg(&socket);
        let agent = Process::start(&mut command).unwrap();
        let admin = self.address(pod, 15000);
        let file = self.path(&format!("{}-{form:?}.json", pod.name));
        let bootstrap = self.bootstrap(pod, form, interception, &socket);
        std::fs::write(&file, serde_json::to_string_pretty(&bootstrap).unwrap()).unwrap();
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file);
        command.args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "-l",
            "warning",
        ]);
        // As Istio's agent starts it: a connection through a filter chain that was replaced is told to
        // go with its next answer. By default it serves on for minutes, under the policy of before.
        command.args(["--drain-time-s", "45", "--drain-strategy", "immediate"]);
        let mut process = Process::start(&mut command).unwrap();
        process.wait_for_http(STARTUP, admin, "/ready").unwrap();
        Envoy {
            process,
            admin,
            _agent: agent,
        }
    }

    /// An address of a pod.
    pub fn address(&self, pod: Pod, port: u16) -> SocketAddr {
        (pod_ip(self.network, pod), port).into()
    }

    /// What the control plane tells at a path.
    pub async fn debug(&self, path: &str) -> Value {
        let control_plane = Client::new(control_plane(self.network, 8080));
        control_plane.get(path).await.unwrap().json()
    }

    /// The control plane's rows of `/debug/syncz` for a pod.
    pub async fn syncz(&self, pod: Pod) -> Vec<Value> {
        let rows = self.debug("/debug/syncz").await;
        let rows: Vec<Value> = serde_json::from_value(rows).unwrap();
        let name = format!("{}.{}", pod.name, pod.namespace);
        rows.into_iter()
            .filter(|row| row["proxy"] == name.as_str())
            .collect()
    }

    /// Changes the file that says who is routed where.
    pub fn route(&self, change: impl FnOnce(&str) -> String) {
        let file = self.path("store/routing.yaml");
        let before = std::fs::read_to_string(&file).unwrap();
        let after = change(&before);
        assert_ne!(before, after, "the example has what the test changes");
        std::fs::write(&file, after).unwrap();
    }

    /// Puts a manifest beside the others, or in the place of the one of its name.
    pub fn apply(&self, name: &str, text: &str) {
        let draft = self.path("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, self.path("store").join(name)).unwrap();
    }

    /// Takes a manifest away.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path("store").join(name)).unwrap();
    }

    /// An address of this world that is no pod's.
    pub fn place(&self, number: u8, port: u16) -> SocketAddr {
        (std::net::Ipv4Addr::new(127, self.network, 2, number), port).into()
    }

    /// Sends a request until the connection is closed on it.
    pub async fn until_refused(&self, address: SocketAddr, request: &Request, what: &str) {
        let by = tokio::time::Instant::now() + FOLLOWS;
        while let Ok(response) = Client::new(address).send(request).await {
            let late = tokio::time::Instant::now() > by;
            assert!(!late, "{what}: {response:#?}\n{}", self.discovery.output());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a request until its answer is as wanted.
    pub async fn until(
        &self,
        address: SocketAddr,
        request: &Request,
        what: &str,
        wanted: impl Fn(&Response) -> bool,
    ) -> Response {
        let by = tokio::time::Instant::now() + FOLLOWS;
        loop {
            let response = Client::new(address).send(request).await;
            match response {
                Ok(response) if wanted(&response) => return response,
                other if tokio::time::Instant::now() > by => {
                    panic!(
                        "{what}: {other:#?}\ncontrol plane:\n{}",
                        self.discovery.output()
                    )
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn application_address(&self, pod: Pod) -> SocketAddr {
        let ip = std::net::Ipv4Addr::new(127, self.network, 2, pod.number);
        (ip, pod.port.expect("an application")).into()
    }

    /// An agent with all that it has to know of a pod.
    fn agent(&self, pod: Pod) -> Command {
        let role = if pod.port.is_some() {
            "sidecar"
        } else {
            "router"
        };
        let mut command = meltemi("agent");
        command.arg(role);
        let discovery = control_plane(self.network, 15012);
        command.arg(format!("--discovery={discovery}"));
        command
            .arg("--root-cert")
            .arg(self.path("ca/root-cert.pem"));
        command.arg("--token").arg(self.token(pod));
        command.args(["--drain-time-s", "1"]);
        let labels: serde_json::Map<_, _> = labels(pod);
        command.envs([
            ("POD_NAME", pod.name.to_owned()),
            ("POD_NAMESPACE", pod.namespace.to_owned()),
            ("INSTANCE_IP", pod_ip(self.network, pod).to_string()),
            ("SERVICE_ACCOUNT", pod.service_account.to_owned()),
            ("ISTIO_META_WORKLOAD_NAME", pod.name.to_owned()),
            ("ISTIO_METAJSON_LABELS", Value::Object(labels).to_string()),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE".to_owned()),
        ]);
        command.envs(self.told.get(pod.name).into_iter().flatten().copied());
        if pod.port.is_some() {
            let address = self.application_address(pod).ip();
            command.env("MELTEMI_APP_ADDRESS", address.to_string());
        }
        command
    }

    /// A token of the pod's service account, as the platform would put it into the pod.
    fn token(&self, pod: Pod) -> PathBuf {
        let file = self.path(&format!("{}.token", pod.name));
        if let Some(token) = self.given.get(pod.name) {
            std::fs::write(&file, token).unwrap();
            return file;
        }
        let key = CaDirectory::new(self.path("ca")).token_key().unwrap();
        let issuer = TokenIssuer::new(key, "cluster.local".parse().unwrap(), Clock::system());
        let hour = Duration::from_secs(3600);
        let token = issuer
            .issue(pod.namespace, pod.service_account, hour)
            .unwrap();
        std::fs::write(&file, token).unwrap();
        file
    }

    /// What Envoy is told: who it is, where the control plane is, where its secrets are.
    fn bootstrap(&self, pod: Pod, form: Form, interception: Interception, sds: &Path) -> Value {
        let ip = pod_ip(self.network, pod);
        let role = if pod.port.is_some() {
            "sidecar"
        } else {
            "router"
        };
        let mut metadata = json!({
            "NAME": pod.name,
            "NAMESPACE": pod.namespace,
            "WORKLOAD_NAME": pod.name,
            "SERVICE_ACCOUNT": pod.service_account,
            "LABELS": labels(pod),
            "INSTANCE_IPS": ip.to_string(),
            "CLUSTER_ID": "Kubernetes",
            "INTERCEPTION_MODE": match interception {
                Interception::None => "NONE",
                Interception::Redirect => "REDIRECT",
            },
        });
        if pod.port.is_some() && interception == Interception::None {
            let address = self.application_address(pod).ip().to_string();
            metadata["MELTEMI_APP_ADDRESS"] = json!(address);
        }
        let source = json!({ "ads": {}, "resource_api_version": "V3" });
        let cluster = |name: &str, address: Value| {
            json!({
                "name": name,
                "type": "STATIC",
                "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": {} },
                    },
                },
                "load_assignment": { "cluster_name": name, "endpoints": [ { "lb_endpoints": [
                    { "endpoint": { "address": address } },
                ] } ] },
            })
        };
        let discovery = control_plane(self.network, 15010);
        json!({
            "node": {
                "id": format!(
                    "{role}~{ip}~{}.{ns}~{ns}.svc.cluster.local", pod.name, ns = pod.namespace
                ),
                "cluster": format!("{}.{}", pod.name, pod.namespace),
                "metadata": metadata,
            },
            "admin": { "address": socket_address(self.address(pod, 15000)) },
            "dynamic_resources": {
                "lds_config": source,
                "cds_config": source,
                "ads_config": {
                    "api_type": match form {
                        Form::Sotw => "GRPC",
                        Form::Delta => "DELTA_GRPC",
                    },
                    "transport_api_version": "V3",
                    "grpc_services": [ { "envoy_grpc": { "cluster_name": "xds-grpc" } } ],
                },
            },
            "static_resources": { "clusters": [
                cluster("xds-grpc", socket_address(discovery)),
                cluster("sds-grpc", json!({ "pipe": { "path": sds } })),
            ] },
        })
    }
}

impl Envoy {
    /// The statistics whose names contain `part`, as `name: value`.
    pub async fn stats(&self, part: &str) -> Vec<(String, u64)> {
        let text = ask(self.admin, "/stats").await;
        let lines = text.lines().filter(|line| line.contains(part));
        let pairs = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        pairs.collect()
    }

    /// The sum of those.
    pub async fn stat(&self, part: &str) -> u64 {
        self.stats(part).await.iter().map(|(_, value)| value).sum()
    }
}

fn meltemi(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_meltemi"));
    program.arg(command);
    program
}

fn control_plane(network: u8, port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::new(127, network, 0, 1), port).into()
}

fn pod_ip(network: u8, pod: Pod) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::new(127, network, 1, pod.number)
}

fn labels(pod: Pod) -> serde_json::Map<String, Value> {
    pod.labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect()
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// The pod as a cluster would show it, with its address; the example's Deployments have none.
/// A pod as its cluster has it.
pub fn manifest(network: u8, pod: Pod) -> Value {
    let Pod {
        name,
        namespace,
        service_account,
        labels: _,
        number: _,
        port,
    } = pod;
    let gateway = json!({ "inject.istio.io/templates": "gateway" });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels(pod),
            "annotations": if port.is_some() { json!({}) } else { gateway },
        },
        "spec": {
            "serviceAccountName": service_account,
            "containers": [ {
                "name": "main",
                "image": if port.is_some() { "meltemi/app" } else { "auto" },
                "ports": [ { "containerPort": port.unwrap_or(8080) } ],
            } ],
        },
        "status": {
            "podIP": pod_ip(network, pod).to_string(),
            "conditions": [ { "type": "Ready", "status": "True" } ],
        },
    })
}
