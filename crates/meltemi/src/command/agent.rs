//! `meltemi agent`: what runs beside a workload, or as a gateway.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use meltemi_agent::{
    Interception, Options, Probe, ProbeMethod, Renewal, StartSettings, WorkloadKey,
};
use meltemi_model::readiness_probe_of_agent;
use meltemi_proxy::LogLevel;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::command::discovery::duration;
use crate::command::proxy::cores;
use crate::env::AgentEnvironment;
use crate::{logging, runtime};

/// Run beside a workload or as a gateway: identity, bootstrap and the proxy in one process
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Environment, as Istio's agent has it: POD_NAME, POD_NAMESPACE, INSTANCE_IP, SERVICE_ACCOUNT,
ISTIO_META_WORKLOAD_NAME, ISTIO_METAJSON_LABELS, ISTIO_META_CLUSTER_ID,
ISTIO_META_INTERCEPTION_MODE and every other ISTIO_META_* and ISTIO_METAJSON_*, TRUST_DOMAIN, PROXY_CONFIG (discoveryAddress, concurrency,
terminationDrainDuration, proxyAdminPort, statusPort, proxyStatsMatcher, extraStatTags, runtimeValues,
interceptionMode, caCertificatesPem, readinessProbe), ISTIO_META_AUTO_REGISTER_GROUP (the WorkloadGroup of which the
workload registers itself: docs/virtual-machines.md), ISTIO_META_DNS_CAPTURE with DNS_PROXY_ADDR (localhost:15053), SECRET_TTL, SECRET_GRACE_PERIOD_RATIO,
SECRET_GRACE_PERIOD_RATIO_JITTER, and for the workload's key ECC_SIGNATURE_ALGORITHM (ECDSA) with
ECC_CURVE (P256 or P384) or WORKLOAD_RSA_KEY_SIZE (2048, 3072 or 4096; without all of them ECDSA
P-256); and MELTEMI_APP_ADDRESS, where the application listens if that is not the interception
mode's usual address. Flags go before it.

Examples:
  POD_NAME=web-1 POD_NAMESPACE=shop INSTANCE_IP=10.0.0.7 SERVICE_ACCOUNT=web \\
    meltemi agent sidecar --discovery 10.0.0.1:15012 --root-cert root-cert.pem --token token

  # Identity for a stock Envoy, over SDS; Envoy itself is started with
  # `--drain-time-s 45 --drain-strategy immediate`: see docs/stock-envoy.md
  meltemi agent sidecar --no-proxy --sds-socket /run/meltemi/sds.sock")]
pub(crate) struct Arguments {
    /// Beside a workload, or as a gateway
    #[arg(value_enum)]
    role: Role,
    /// The control plane's address for xDS and certificates
    /// [default: PROXY_CONFIG's discoveryAddress, else istiod.istio-system.svc:15012]
    #[arg(long, value_name = "HOST:PORT")]
    discovery: Option<String>,
    /// The roots that the control plane's certificate must lead to, PEM
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/istio/root-cert.pem"
    )]
    root_cert: PathBuf,
    /// The token that proves who this is; read anew at each use
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/tokens/istio-token"
    )]
    token: PathBuf,
    /// Where administration listens [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The port with /healthz/ready and /stats/prometheus [default: PROXY_CONFIG's, else 15020]
    #[arg(long, value_name = "PORT")]
    status_port: Option<u16>,
    /// The DNS domain of the pod [default: POD_NAMESPACE.svc.cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Worker threads, 0 for one for each core [default: PROXY_CONFIG's, else one for each core]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// How many seconds connections have to end at shutdown [default: PROXY_CONFIG's, else 5]
    #[arg(long, value_name = "SECONDS")]
    drain_time_s: Option<u64>,
    /// Serve the workload's secrets over SDS on this Unix socket
    #[arg(long, value_name = "PATH")]
    sds_socket: Option<PathBuf>,
    /// No proxy: identity and SDS only, for a stock Envoy
    #[arg(long)]
    no_proxy: bool,
    /// trace, debug, info, warning, error, critical or off
    #[arg(short, long, value_name = "LEVEL", default_value = "info", value_parser = logging::parse_level)]
    log_level: LogLevel,
}

/// What the agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Beside a workload
    Sidecar,
    /// A gateway
    #[value(alias = "gateway")]
    Router,
}

impl From<Role> for meltemi_agent::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Sidecar => Self::Sidecar,
            Role::Router => Self::Router,
        }
    }
}

/// Istio's ProxyConfig, as far as the agent goes by it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProxyConfig {
    discovery_address: Option<String>,
    concurrency: Option<usize>,
    termination_drain_duration: Option<String>,
    proxy_admin_port: Option<u16>,
    status_port: Option<u16>,
    interception_mode: Option<String>,
    proxy_stats_matcher: StatsMatcher,
    extra_stat_tags: Vec<String>,
    runtime_values: BTreeMap<String, String>,
    ca_certificates_pem: Vec<String>,
    readiness_probe: Option<Value>,
}

/// Istio's ProxyStatsMatcher.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatsMatcher {
    inclusion_prefixes: Vec<String>,
    inclusion_suffixes: Vec<String>,
    inclusion_regexps: Vec<String>,
}

impl ProxyConfig {
    /// What `PROXY_CONFIG` says, which the control plane is told as it is.
    fn told(text: Option<&str>, metadata: &mut Map<String, Value>) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let whole: Value = serde_saphyr::from_str(text).context("PROXY_CONFIG")?;
        let config = serde_json::from_value(whole.clone()).context("PROXY_CONFIG")?;
        metadata.insert("PROXY_CONFIG".to_owned(), whole);
        Ok(config)
    }

    /// The same where it is for the agent alone.
    fn own(text: Option<&str>) -> Result<Option<Self>> {
        let config = text.map(serde_saphyr::from_str).transpose();
        config.context("MELTEMI_PROXY_CONFIG")
    }

    /// What the bootstrap has of it, and of the pod's annotations, of which each stands in the place of
    /// a list.
    fn start(self, metadata: &Map<String, Value>) -> StartSettings {
        let annotation = |name: &str| -> Option<Vec<String>> {
            let annotations = metadata.get("ANNOTATIONS")?;
            let text = annotations
                .get(format!("sidecar.istio.io/{name}"))?
                .as_str()?;
            let texts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
            Some(texts.map(str::to_owned).collect())
        };
        let StatsMatcher {
            inclusion_prefixes,
            inclusion_suffixes,
            inclusion_regexps,
        } = self.proxy_stats_matcher;
        let mut tags = self.extra_stat_tags;
        tags.extend(annotation("extraStatTags").unwrap_or_default());
        StartSettings {
            stats_prefixes: annotation("statsInclusionPrefixes").unwrap_or(inclusion_prefixes),
            stats_suffixes: annotation("statsInclusionSuffixes").unwrap_or(inclusion_suffixes),
            stats_regexps: annotation("statsInclusionRegexps").unwrap_or(inclusion_regexps),
            extra_stat_tags: tags,
            runtime_values: self.runtime_values,
            ca_certificates: self.ca_certificates_pem,
        }
    }

    /// How traffic comes in: as the metadata say, else as written here.
    fn interception(&self, metadata: Option<&str>) -> Result<Interception> {
        match metadata {
            Some(mode) => interception_mode("ISTIO_META_INTERCEPTION_MODE", Some(mode)),
            None => {
                let place = "PROXY_CONFIG: interceptionMode";
                interception_mode(place, self.interception_mode.as_deref())
            }
        }
    }

    /// How it is found out whether the application is healthy.
    fn probe(&self) -> Result<Option<Probe>> {
        let Some(written) = &self.readiness_probe else {
            return Ok(None);
        };
        let settings = serde_json::json!({ "readinessProbe": written }).to_string();
        let probe = readiness_probe_of_agent(&settings).map_err(anyhow::Error::msg);
        Ok(probe.context("PROXY_CONFIG")?.map(probe_of))
    }

    fn drain_time(&self) -> Result<Duration> {
        match &self.termination_drain_duration {
            Some(text) => duration(text)
                .map_err(|error| error.context("PROXY_CONFIG: terminationDrainDuration")),
            None => Ok(Duration::from_secs(5)),
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let logs = logging::to_stderr(arguments.log_level)?;
    let options = options(arguments, AgentEnvironment::read(), logs)?;
    let runtime = runtime::multi_threaded(1)?;
    runtime::until_signal(&runtime, |drain, mut kill| async move {
        tokio::select! {
            result = meltemi_agent::run(options, drain) => result,
            () = kill.draining() => Ok(()),
        }
    })
}

fn options(
    arguments: Arguments,
    environment: AgentEnvironment,
    logs: std::sync::Arc<meltemi_proxy::LogControl>,
) -> Result<Options> {
    let Arguments {
        role,
        discovery,
        root_cert,
        token,
        admin,
        domain,
        status_port,
        concurrency,
        drain_time_s,
        sds_socket,
        no_proxy,
        // ignored: the log was set up with it
        log_level: _,
    } = arguments;
    let AgentEnvironment {
        pod_name,
        pod_namespace,
        instance_ip,
        service_account,
        workload_name,
        labels,
        cluster_id,
        interception,
        trust_domain,
        app_address,
        metadata,
        proxy_config,
        own_proxy_config,
        dns_address,
        secret_ttl,
        secret_grace_period_ratio,
        secret_grace_period_ratio_jitter,
        ecc_signature_algorithm,
        ecc_curve,
        workload_rsa_key_size,
    } = environment;
    let key = WorkloadKey::chosen(
        ecc_signature_algorithm.as_deref(),
        ecc_curve.as_deref(),
        workload_rsa_key_size.as_deref(),
    )?;
    let renewal = renewal(
        secret_ttl.as_deref(),
        secret_grace_period_ratio.as_deref(),
        secret_grace_period_ratio_jitter.as_deref(),
    )?;
    let mut metadata = node_metadata(metadata)?;
    let config = ProxyConfig::told(proxy_config.as_deref(), &mut metadata)?;
    let own = ProxyConfig::own(own_proxy_config.as_deref())?;
    let pod = pod_name.context("POD_NAME is not set: which pod is this?")?;
    let namespace = pod_namespace.context("POD_NAMESPACE is not set: which namespace is this?")?;
    let ip = instance_ip.context("INSTANCE_IP is not set: which address has this pod?")?;
    let drain_time = drain_time_s.map(|seconds| Ok(Duration::from_secs(seconds)));
    let drain_time = drain_time.unwrap_or_else(|| config.drain_time())?;
    let admin_port = config.proxy_admin_port.unwrap_or(15000);
    Ok(Options {
        role: role.into(),
        ip: address("INSTANCE_IP", &ip)?,
        service_account: service_account.unwrap_or_else(|| "default".to_owned()),
        labels: labels_of(labels.as_deref())?,
        workload: workload_of(workload_name, &metadata, &pod),
        cluster_id: cluster_id.unwrap_or_else(|| "Kubernetes".to_owned()),
        dns_domain: domain.unwrap_or_else(|| format!("{namespace}.svc.cluster.local")),
        trust_domain: trust_domain.unwrap_or_else(|| "cluster.local".to_owned()),
        interception: config.interception(interception.as_deref())?,
        app_address: app_address
            .map(|it| address("MELTEMI_APP_ADDRESS", &it))
            .transpose()?,
        discovery: discovery
            .or(config.discovery_address.clone())
            .unwrap_or_else(|| "istiod.istio-system.svc:15012".to_owned()),
        root_cert,
        renewal,
        key,
        token,
        admin: admin.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, admin_port).into()),
        status_port: status_port.or(config.status_port).unwrap_or(15020),
        concurrency: concurrency
            .or(config.concurrency)
            .filter(|it| *it > 0)
            .unwrap_or_else(cores),
        dns: dns(role, &metadata, dns_address.as_deref())?,
        probe: config.probe()?,
        start: own.unwrap_or(config).start(&metadata),
        metadata,
        sds_socket,
        run_proxy: !no_proxy,
        drain_time,
        logs,
        pod,
        namespace,
    })
}

/// A checked probe, for the agent.
fn probe_of(probe: meltemi_model::Probe) -> Probe {
    use meltemi_model::ProbeMethod as Checked;
    let meltemi_model::Probe {
        initial_delay,
        timeout,
        period,
        success_threshold,
        failure_threshold,
        method,
    } = probe;
    Probe {
        initial_delay,
        timeout,
        period,
        success_threshold,
        failure_threshold,
        method: match method {
            Checked::Http {
                path,
                port,
                host,
                tls,
                headers,
            } => ProbeMethod::Http {
                path,
                port,
                host,
                tls,
                headers,
            },
            Checked::Tcp { host, port } => ProbeMethod::Tcp { host, port },
            Checked::Exec(command) => ProbeMethod::Exec(command),
            Checked::Grpc { port, service } => ProbeMethod::Grpc { port, service },
        },
    }
}

/// What the proxy says of itself: `ISTIO_META_X` is the text X, `ISTIO_METAJSON_X` are the fields of
/// an object.
fn node_metadata(variables: BTreeMap<String, String>) -> Result<Map<String, Value>> {
    let mut metadata = Map::new();
    for (variable, text) in variables {
        if let Some(key) = variable.strip_prefix("ISTIO_META_") {
            metadata.insert(key.to_owned(), Value::String(text));
        } else if let Some(key) = variable.strip_prefix("ISTIO_METAJSON_") {
            let value: Map<String, Value> =
                serde_json::from_str(&text).with_context(|| variable.clone())?;
            metadata.insert(key.to_owned(), Value::Object(value));
        }
    }
    Ok(metadata)
}

/// The workload's name: the WorkloadGroup of which it registers itself names it as a Deployment does.
fn workload_of(written: Option<String>, metadata: &Map<String, Value>, pod: &str) -> String {
    let group = metadata.get("AUTO_REGISTER_GROUP").and_then(Value::as_str);
    let group = group.filter(|it| !it.is_empty());
    written.unwrap_or_else(|| group.unwrap_or(pod).to_owned())
}

/// Where DNS is answered: at `DNS_PROXY_ADDR`, of sidecars with `ISTIO_META_DNS_CAPTURE`.
fn dns(
    role: Role,
    metadata: &Map<String, Value>,
    address: Option<&str>,
) -> Result<Option<SocketAddr>> {
    let capture = metadata.get("DNS_CAPTURE").and_then(Value::as_str);
    if role != Role::Sidecar || !matches!(capture, Some("true" | "1")) {
        return Ok(None);
    }
    let address = address.unwrap_or("localhost:15053");
    let numeric = address.replacen("localhost", "127.0.0.1", 1);
    let parsed = numeric.parse();
    parsed
        .map(Some)
        .with_context(|| format!("DNS_PROXY_ADDR: {address:?}"))
}

fn labels_of(text: Option<&str>) -> Result<BTreeMap<String, String>> {
    let labels = text.map(serde_json::from_str).transpose();
    Ok(labels.context("ISTIO_METAJSON_LABELS")?.unwrap_or_default())
}

/// When certificates are renewed.
fn renewal(ttl: Option<&str>, grace: Option<&str>, jitter: Option<&str>) -> Result<Renewal> {
    let mut renewal = Renewal::default();
    if let Some(text) = ttl {
        renewal.lifetime = duration(text).context("SECRET_TTL")?;
        if renewal.lifetime.is_zero() {
            bail!("SECRET_TTL: a certificate has to be valid for some time");
        }
    }
    let ratio = |variable: &str, text: Option<&str>, into: &mut f64| -> Result<()> {
        if let Some(text) = text {
            let ratio: f64 = text
                .parse()
                .with_context(|| format!("{variable}: {text:?}"))?;
            if !(0.0..=1.0).contains(&ratio) {
                bail!("{variable}: {text:?} is not between 0 and 1");
            }
            *into = ratio;
        }
        Ok(())
    };
    ratio("SECRET_GRACE_PERIOD_RATIO", grace, &mut renewal.grace)?;
    ratio(
        "SECRET_GRACE_PERIOD_RATIO_JITTER",
        jitter,
        &mut renewal.jitter,
    )?;
    Ok(renewal)
}

fn address(variable: &str, text: &str) -> Result<IpAddr> {
    text.trim()
        .parse()
        .with_context(|| format!("{variable}: {text:?}"))
}

fn interception_mode(place: &str, text: Option<&str>) -> Result<Interception> {
    Ok(match text {
        None | Some("REDIRECT") => Interception::Redirect,
        Some("TPROXY") => Interception::Tproxy,
        Some("NONE") => Interception::None,
        Some(other) => {
            bail!("{place}: {other:?} is not REDIRECT, TPROXY or NONE")
        }
    })
}
