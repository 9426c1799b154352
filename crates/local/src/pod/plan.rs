//! Which processes a pod is made of.
//!
//! In: a pod, and what every pod shares. Out: its [`PodPlan`], and what of it could not be had.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use meltemi_model::{Container, ProxyConfig, StartSettings, Workload};

use super::environment::{self, Values};
use super::{Pod, PodName, PodPlan, ProcessPlan, ProxyKind};
use crate::settings::{ImageCommand, Settings};

/// What every pod shares.
pub(crate) struct PlanContext<'a> {
    /// This program.
    pub executable: &'a Path,
    /// What is run for which image.
    pub settings: &'a Settings,
    /// Variables that every process inherits, `PATH` among them.
    pub inherited: &'a BTreeMap<String, String>,
    /// What the proxies need.
    pub proxy: &'a ProxySettings,
    /// What is said of a workload's proxy.
    pub proxy_config: &'a dyn Fn(&Workload) -> ProxyConfig,
    /// Config maps and secrets.
    pub values: &'a dyn Values,
}

/// What the proxies need.
#[derive(Debug, Clone)]
pub(crate) struct ProxySettings {
    /// Where they get their configuration and certificates.
    pub discovery: SocketAddr,
    /// The mesh's root certificate.
    pub root_cert: PathBuf,
    /// The mesh's trust domain.
    pub trust_domain: String,
    /// The directory in which each service account's token lies.
    pub tokens: PathBuf,
    /// Worker threads of each of which nothing says it.
    pub concurrency: usize,
    /// How long connections may take to end where nothing says it.
    pub drain_seconds: u64,
    /// What they log.
    pub log_level: String,
}

/// The port of every sidecar's HTTP proxy.
const HTTP_PROXY_PORT: u16 = 15080;

/// The port at which a sidecar answers DNS, if it does.
const DNS_PORT: u16 = 15053;

/// The name of the proxy's process.
const PROXY: &str = "proxy";

/// The plan for `pod`; and what it had to do without.
pub(crate) fn plan(pod: &Pod, context: &PlanContext<'_>) -> (PodPlan, Vec<String>) {
    let mut processes = Vec::new();
    let mut listens = Vec::new();
    let mut missing = Vec::new();
    let config = (context.proxy_config)(&pod.workload);
    let admin = SocketAddr::new(pod.ip(), config.proxy_admin_port);
    match pod.proxy {
        ProxyKind::Sidecar => processes.push(proxy(pod, "sidecar", admin, &config, context)),
        ProxyKind::Router => processes.push(proxy(pod, "router", admin, &config, context)),
        ProxyKind::None => {}
    }
    if pod.proxy != ProxyKind::Router {
        for container in &pod.workload.containers {
            let it = application(pod, container, context);
            let named = it
                .missing
                .iter()
                .map(|what| format!("{}: {what}", container.name));
            missing.extend(named);
            let idle = it.listens.is_empty() && it.stands_in;
            if idle && listens.is_empty() && container == last(pod) {
                missing.push(format!("{}: it declares no port", container.name));
            }
            if !idle {
                listens.extend(it.listens);
                processes.push(it.process);
            }
        }
    }
    let plan = PodPlan {
        pod: pod.name(),
        workload: pod.workload.workload_name().to_owned(),
        service_account: pod.workload.service_account.to_string(),
        ip: pod.ip(),
        proxy: pod.proxy,
        admin: (pod.proxy != ProxyKind::None).then_some(admin),
        processes,
        listens,
    };
    (plan, missing)
}

impl ProxySettings {
    /// The file with the token of a service account.
    pub(crate) fn token(&self, namespace: &str, account: &str) -> PathBuf {
        self.tokens.join(format!("{account}.{namespace}"))
    }
}

/// The agent with the proxy in it. It is told as Istio's agent is, by its environment, and by flags
/// where Istio has no variable.
fn proxy(
    pod: &Pod,
    role: &str,
    admin: SocketAddr,
    config: &ProxyConfig,
    context: &PlanContext<'_>,
) -> ProcessPlan {
    let PodName { namespace, name } = pod.name();
    let workload = &pod.workload;
    let labels = serde_json::to_string(workload.meta.labels.as_map());
    let mut env = context.inherited.clone();
    env.extend(config.proxy_metadata.clone());
    env.extend(
        [
            ("POD_NAME", name),
            ("POD_NAMESPACE", namespace.clone()),
            ("INSTANCE_IP", pod.ip().to_string()),
            ("SERVICE_ACCOUNT", workload.service_account.to_string()),
            (
                "ISTIO_META_WORKLOAD_NAME",
                workload.workload_name().to_owned(),
            ),
            (
                "ISTIO_METAJSON_LABELS",
                labels.expect("a map of texts is JSON"),
            ),
            ("ISTIO_META_INTERCEPTION_MODE", "NONE".to_owned()),
            ("TRUST_DOMAIN", context.proxy.trust_domain.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    if let Some(address) = workload.application_address {
        env.insert("MELTEMI_APP_ADDRESS".to_owned(), address.to_string());
    }
    let dns = SocketAddr::new(pod.ip(), DNS_PORT);
    env.insert("DNS_PROXY_ADDR".to_owned(), dns.to_string());
    if let Some(start) = start_settings(&config.start) {
        env.insert("MELTEMI_PROXY_CONFIG".to_owned(), start.to_string());
    }
    let settings = context.proxy;
    // What the mesh says goes before what `up` was started with; 0 threads are as many as there are
    // cores, for the agent too.
    let threads = config.concurrency.map(usize::try_from);
    let threads = threads.map(|it| it.unwrap_or(usize::MAX));
    let concurrency = threads.unwrap_or(settings.concurrency);
    let drain = config.termination_drain_duration;
    let drain_seconds = drain.map_or(settings.drain_seconds, |it| it.as_secs());
    let token = settings.token(&namespace, &workload.service_account);
    let args = [
        "agent".to_owned(),
        role.to_owned(),
        format!("--discovery={}", settings.discovery),
        format!("--root-cert={}", settings.root_cert.display()),
        format!("--token={}", token.display()),
        format!("--admin={admin}"),
        format!("--status-port={}", config.status_port),
        format!("--concurrency={concurrency}"),
        format!("--drain-time-s={drain_seconds}"),
        format!("--log-level={}", settings.log_level),
    ];
    ProcessPlan {
        name: PROXY.to_owned(),
        title: format!("meltemi agent {role}"),
        program: context.executable.to_owned(),
        args: args.to_vec(),
        env,
        working_dir: None,
    }
}

/// What the agent puts into the bootstrap, as Istio's ProxyConfig; `None` if that is nothing.
fn start_settings(start: &StartSettings) -> Option<serde_json::Value> {
    let StartSettings {
        stats_prefixes,
        stats_suffixes,
        stats_regexps,
        extra_stat_tags,
        runtime_values,
        ca_certificates,
    } = start;
    (*start != StartSettings::default()).then(|| {
        serde_json::json!({
            "proxyStatsMatcher": {
                "inclusionPrefixes": stats_prefixes,
                "inclusionSuffixes": stats_suffixes,
                "inclusionRegexps": stats_regexps,
            },
            "extraStatTags": extra_stat_tags,
            "runtimeValues": runtime_values,
            "caCertificatesPem": ca_certificates,
        })
    })
}

/// A container's process.
struct Application {
    process: ProcessPlan,
    /// The image's own program is not here: the sample workload stands in.
    stands_in: bool,
    listens: Vec<SocketAddr>,
    missing: Vec<String>,
}

/// A container: the command of its image in `meltemi.yaml`, else its own command if this machine has
/// it, else the sample workload, which has nothing to do in a container without ports.
fn application(pod: &Pod, container: &Container, context: &PlanContext<'_>) -> Application {
    let ip = pod.application_ip();
    let mut env = context.inherited.clone();
    env.extend(told(pod, container, ip));
    let mut missing = environment::extend(&mut env, &container.env, pod, context.values);
    let mapped = context.settings.images.get(&container.image);
    if let Some(ImageCommand { env: more, .. }) = mapped {
        env.extend(more.clone());
    }
    if let Some(listen) = env.get_mut("LISTEN_ADDR") {
        *listen = environment::listen_addresses(listen, ip);
    }
    let working_dir = match mapped {
        Some(image) => image.working_dir.clone(),
        None => container.working_dir.as_ref().map(PathBuf::from),
    };
    // a directory of the image that this machine does not have is no reason not to run
    let working_dir = working_dir.filter(|it| it.is_dir());
    let command = mapped.map_or(&container.command, |image| &image.command);
    let mut words: Vec<_> = command
        .iter()
        .chain(&container.args)
        .map(|word| environment::expand(word, &env))
        .collect();
    let found = (!command.is_empty())
        .then(|| find_program(&words[0], working_dir.as_deref(), env.get("PATH")))
        .flatten();
    if mapped.is_some() && found.is_none() {
        missing.push(format!(
            "images.{}.command: no program {}",
            container.image, words[0]
        ));
    }
    let stands_in = found.is_none();
    let (title, program, args) = match found {
        Some(program) => (words.join(" "), program, words.split_off(1)),
        None => {
            let title = format!("meltemi app in place of {}", container.image);
            (title, context.executable.to_owned(), vec!["app".to_owned()])
        }
    };
    let listens = if stands_in {
        let listen = env.get("LISTEN_ADDR").map_or("", String::as_str);
        listen
            .split(',')
            .filter_map(|it| it.trim().parse().ok())
            .collect()
    } else {
        tcp_ports(container, ip).collect()
    };
    let process = ProcessPlan {
        name: container.name.clone(),
        title,
        program,
        args,
        env,
        working_dir: working_dir.filter(|_| !stands_in),
    };
    Application {
        process,
        stands_in,
        listens,
        missing,
    }
}

fn tcp_ports(container: &Container, ip: IpAddr) -> impl Iterator<Item = SocketAddr> {
    let tcp = container.ports.iter().filter(|port| !port.udp);
    tcp.map(move |port| SocketAddr::new(ip, port.number))
}

fn last(pod: &Pod) -> &Container {
    let last = pod.workload.containers.last();
    last.expect("called for one of its containers")
}

/// What a container is told unless its `env` says otherwise.
fn told(pod: &Pod, container: &Container, ip: IpAddr) -> BTreeMap<String, String> {
    let PodName { namespace, name } = pod.name();
    let listens: Vec<_> = tcp_ports(container, ip)
        .map(|address| address.to_string())
        .collect();
    let mut told = vec![
        ("POD_NAME", name),
        ("POD_NAMESPACE", namespace),
        ("POD_IP", pod.ip().to_string()),
        ("INSTANCE_IP", pod.ip().to_string()),
        ("SERVICE_ACCOUNT", pod.workload.service_account.to_string()),
        ("APPLICATION_IP", ip.to_string()),
        ("NAME", pod.workload.canonical_name().to_owned()),
    ];
    if let Some(version) = pod.workload.meta.labels.get("version") {
        told.push(("VERSION", version.to_owned()));
    }
    if !listens.is_empty() {
        told.push(("LISTEN_ADDR", listens.join(",")));
    }
    if pod.proxy == ProxyKind::Sidecar {
        let proxy = format!("http://{}", SocketAddr::new(pod.ip(), HTTP_PROXY_PORT));
        let except = "127.0.0.1,localhost".to_owned();
        told.extend([
            ("http_proxy", proxy.clone()),
            ("HTTP_PROXY", proxy),
            ("no_proxy", except.clone()),
            ("NO_PROXY", except),
        ]);
    }
    let told = told.into_iter();
    told.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A program as a shell finds it: below the working directory if it has a slash, else on the path.
fn find_program(name: &str, below: Option<&Path>, path: Option<&String>) -> Option<PathBuf> {
    if name.contains('/') {
        let at = below.map_or_else(|| PathBuf::from(name), |below| below.join(name));
        return is_program(&at).then_some(at);
    }
    std::env::split_paths(path?)
        .map(|directory| directory.join(name))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
