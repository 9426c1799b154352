//! `meltemi discovery`: the control plane.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meltemi_discovery::{AUDIENCE, Access, IssuerKeys, IssuerOptions, Options, Validity};
use meltemi_proxy::LogLevel;
use serde::Deserialize;

use crate::env::DiscoveryEnvironment;
use crate::{logging, runtime};

/// The revision of a control plane that is told of none, as istiod's.
const DEFAULT_REVISION: &str = "default";

/// Run the control plane: xDS, certificates, debug endpoints
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Environment, as istiod has it: PILOT_DEBOUNCE_AFTER, PILOT_DEBOUNCE_MAX, PILOT_PUSH_THROTTLE,
DEFAULT_WORKLOAD_CERT_TTL, MAX_WORKLOAD_CERT_TTL, TOKEN_AUDIENCES (istio-ca),
PILOT_MAX_REQUESTS_PER_SECOND (no limit unless it is given),
PILOT_WORKLOAD_ENTRY_GRACE_PERIOD (10s), POD_NAME (who this is, for workloads that register themselves),
PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER (false), REVISION, JWT_RULE (an issuer whose tokens are
believed, as JSON: issuer, audiences, and jwksUri, jwks, or neither for OpenID discovery).

In a Pod, --registries Kubernetes finds the API server by KUBERNETES_SERVICE_HOST and
KUBERNETES_SERVICE_PORT and the files of the Pod's service account.

Examples:
  meltemi discovery --config-dir manifests --ca-dir ca
  meltemi discovery --kubeconfig ~/.kube/config --ca-dir ca
  meltemi discovery --config-dir manifests --ca-dir ca --plugged-ca /etc/cacerts")]
pub(crate) struct Arguments {
    /// A directory or file of resources, which is watched; may be given several times. What it defines
    /// goes before what a cluster defines
    #[arg(
        long = "config-dir",
        alias = "configDir",
        value_name = "DIR",
        required_unless_present_any = ["kubeconfig", "registries"]
    )]
    config: Vec<PathBuf>,
    /// Watch the resources of a Kubernetes cluster
    #[arg(long, value_name = "REGISTRY", value_delimiter = ',')]
    registries: Vec<Registry>,
    /// How the cluster's API server is reached; Kubernetes is watched where it is given
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// The mesh configuration: Istio's MeshConfig
    #[arg(long, alias = "meshConfig", value_name = "FILE")]
    mesh_config: Option<PathBuf>,
    /// Where the authority's key is kept, made at the first start
    #[arg(long, value_name = "DIR", default_value = "meltemi-ca")]
    ca_dir: PathBuf,
    /// An authority that somebody else made, as Istio's cacerts; never written, and followed when its
    /// files change
    #[arg(long, value_name = "DIR")]
    plugged_ca: Option<PathBuf>,
    /// Believe the tokens of this issuer, by the public keys in a file (a JSON Web Key Set, or PEM) or at
    /// an address (a JSON Web Key Set over https:// or http://, fetched again every twenty minutes);
    /// may be given several times
    #[arg(long, value_name = "ISSUER=FILE|URL", value_parser = token_issuer)]
    token_issuer: Vec<(String, IssuerKeys)>,
    /// Where /ready, /metrics and /debug are
    #[arg(long, alias = "httpAddr", value_name = "ADDRESS", default_value = ":8080", value_parser = listen_address)]
    http_addr: SocketAddr,
    /// Where the same are for scraping
    #[arg(long, alias = "monitoringAddr", value_name = "ADDRESS", default_value = ":15014", value_parser = listen_address)]
    monitoring_addr: SocketAddr,
    /// Where xDS is served in plain text; `off` for nowhere
    #[arg(
        long,
        alias = "grpcAddr",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15010"
    )]
    grpc_addr: String,
    /// Allow plain text on an address that other machines reach
    #[arg(long)]
    expose_grpc: bool,
    /// Where xDS and certificates are served over TLS
    #[arg(long, alias = "secureGRPCAddr", value_name = "ADDRESS", default_value = ":15012", value_parser = listen_address)]
    secure_grpc_addr: SocketAddr,
    /// Where the webhook is that a cluster's API server asks whether resources are valid, over TLS; `off`
    /// for nowhere [default: :15017 with a cluster, else off]
    #[arg(long, alias = "httpsAddr", value_name = "ADDRESS")]
    https_addr: Option<String>,
    /// Another name or address of this server, for its certificate; may be given several times
    #[arg(long, value_name = "NAME")]
    server_name: Vec<String>,
    /// The trust domain [default: that of the mesh configuration, else cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,
    /// The root namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "istio-system")]
    root_namespace: String,
    /// The DNS domain of services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    domain: String,
    /// Which control plane this is, where a cluster has several: resources whose label istio.io/rev names
    /// another do not count [default: default]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Allow a token issuer's keys to be fetched from a private address that a redirect leads to
    #[arg(long)]
    allow_private_jwks_redirects: bool,
    /// trace, debug, info, warning, error, critical or off
    #[arg(short, long, value_name = "LEVEL", default_value = "info", value_parser = logging::parse_level)]
    log_level: LogLevel,
}

/// Where services are known from, beside directories; named as istiod names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Registry {
    /// A Kubernetes cluster.
    #[value(name = "Kubernetes")]
    Kubernetes,
}

/// Runs the command.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    logging::to_stderr(arguments.log_level)?;
    let options = options(arguments, DiscoveryEnvironment::read())?;
    let runtime = runtime::multi_threaded(crate::command::proxy::cores())?;
    runtime::until_signal(&runtime, |drain, mut kill| async move {
        tokio::select! {
            result = meltemi_discovery::run(options, drain) => Ok(result?),
            () = kill.draining() => Ok(()),
        }
    })
}

/// A duration as Go writes it, in as far as Istio's settings use that: `100ms`, `10s`, `1m30s`, `2h`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let units = [
        ("ms", 1),
        ("us", 0),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
    ];
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        bail!("an empty text is no duration");
    }
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.');
        let (number, after) = rest.split_at(end.unwrap_or(rest.len()));
        let number: f64 = number
            .parse()
            .with_context(|| format!("{text:?} is no duration"))?;
        let found = units.iter().find(|(unit, _)| after.starts_with(unit));
        let Some((unit, milliseconds)) = found else {
            bail!("{text:?} is no duration such as 100ms, 10s or 1m30s");
        };
        let seconds = match milliseconds {
            0 => number / 1e6,
            &milliseconds => number * f64::from(milliseconds) / 1000.0,
        };
        total += Duration::try_from_secs_f64(seconds)?;
        rest = &after[unit.len()..];
    }
    Ok(total)
}

fn options(arguments: Arguments, environment: DiscoveryEnvironment) -> Result<Options> {
    let Arguments {
        config,
        registries,
        kubeconfig,
        context,
        mesh_config,
        ca_dir,
        plugged_ca,
        token_issuer,
        http_addr,
        monitoring_addr,
        grpc_addr,
        expose_grpc,
        secure_grpc_addr,
        https_addr,
        server_name,
        trust_domain,
        root_namespace,
        domain,
        revision,
        allow_private_jwks_redirects,
        // ignored: the log was set up with it
        log_level: _,
    } = arguments;
    let DiscoveryEnvironment {
        debounce_after,
        debounce_max,
        push_throttle,
        default_workload_cert_ttl,
        max_workload_cert_ttl,
        token_audiences,
        max_requests,
        headless_by_range,
        jwt_rule,
        revision: given_revision,
        registration_grace,
        instance,
        kubernetes_service,
    } = environment;
    let mut options = Options::new(ca_dir);
    options.config = config;
    options.kubernetes = match kubeconfig {
        Some(file) => Some(Access::from_kubeconfig(&file, context.as_deref())?),
        None if registries.contains(&Registry::Kubernetes) => Some(in_cluster(kubernetes_service)?),
        None => None,
    };
    options.mesh_config = mesh_config;
    let revision = revision.or(given_revision);
    options.revision = Some(revision.unwrap_or_else(|| DEFAULT_REVISION.to_owned()));
    options.plugged_ca = plugged_ca;
    options.validity = validity(
        default_workload_cert_ttl.as_deref(),
        max_workload_cert_ttl.as_deref(),
    )?;
    options.issuers = issuers(token_issuer, token_audiences.as_deref(), jwt_rule)?;
    options.http = http_addr;
    options.monitoring = monitoring_addr;
    options.secure_xds = secure_grpc_addr;
    options.expose_plaintext_xds = expose_grpc;
    options.plaintext_xds = address_unless_off(&grpc_addr).context("--grpc-addr")?;
    let of_cluster = if options.kubernetes.is_some() {
        ":15017"
    } else {
        "off"
    };
    let webhooks = https_addr.as_deref().unwrap_or(of_cluster);
    options.webhooks = address_unless_off(webhooks).context("--https-addr")?;
    for name in server_name {
        name_server(&mut options, name);
    }
    let trust_domain = trust_domain.map(|text| {
        let parsed = text.parse();
        parsed.with_context(|| format!("--trust-domain: {text:?}"))
    });
    options.trust_domain = trust_domain.transpose()?;
    options.root_namespace = root_namespace.as_str().into();
    options.domain = domain;
    options.private_key_redirects = allow_private_jwks_redirects;
    if let Some(text) = debounce_after {
        options.debounce_quiet = duration(&text).context("PILOT_DEBOUNCE_AFTER")?;
    }
    if let Some(text) = debounce_max {
        options.debounce_maximum = duration(&text).context("PILOT_DEBOUNCE_MAX")?;
    }
    if let Some(text) = push_throttle {
        options.concurrent_pushes = text.parse().context("PILOT_PUSH_THROTTLE")?;
    }
    options.headless_by_range = switch(headless_by_range.as_deref())
        .context("PILOT_ENABLE_HEADLESS_FILTER_CHAIN_LISTENER")?;
    register(&mut options, registration_grace.as_deref(), instance)?;
    if let Some(text) = max_requests {
        let limit: f64 = text.parse().context("PILOT_MAX_REQUESTS_PER_SECOND")?;
        // As in Istio, zero says that nobody has chosen.
        options.streams_per_second = (limit != 0.0).then_some(limit);
    }
    Ok(options)
}

/// A name or an address of this server.
fn name_server(options: &mut Options, name: String) {
    match name.parse::<IpAddr>() {
        Ok(address) => options.server_addresses.push(address),
        Err(_) => options.server_names.push(name),
    }
}

/// What becomes of workloads that register themselves.
fn register(options: &mut Options, grace: Option<&str>, instance: Option<String>) -> Result<()> {
    if let Some(text) = grace {
        options.registration_grace = duration(text).context("PILOT_WORKLOAD_ENTRY_GRACE_PERIOD")?;
    }
    if let Some(instance) = instance {
        options.instance = instance;
    }
    Ok(())
}

/// The API server that a Pod is told of.
fn in_cluster((host, port): (Option<String>, Option<String>)) -> Result<Access> {
    let access = Access::in_cluster(host.as_deref(), port.as_deref());
    access.context("--registries Kubernetes")
}

/// Whether a feature is on that is off unless somebody turns it on.
fn switch(text: Option<&str>) -> Result<bool> {
    Ok(text.map(str::parse).transpose()?.unwrap_or(false))
}

/// How long certificates are valid.
fn validity(default: Option<&str>, maximum: Option<&str>) -> Result<Validity> {
    let mut validity = Validity::default();
    if let Some(text) = maximum {
        validity.maximum = duration(text).context("MAX_WORKLOAD_CERT_TTL")?;
        validity.default = validity.default.min(validity.maximum);
    }
    if let Some(text) = default {
        validity.default = duration(text).context("DEFAULT_WORKLOAD_CERT_TTL")?;
    }
    if validity.default.is_zero() || validity.default > validity.maximum {
        bail!(
            "DEFAULT_WORKLOAD_CERT_TTL: {:?} is not between 0 and MAX_WORKLOAD_CERT_TTL, {:?}",
            validity.default,
            validity.maximum
        );
    }
    Ok(validity)
}

/// An issuer and its keys; an issuer may be an address with `=` in it, and so may the keys' address.
fn token_issuer(text: &str) -> Result<(String, IssuerKeys), String> {
    let address = ["=https://", "=http://"]
        .iter()
        .filter_map(|it| text.rfind(it))
        .max();
    let split = address.or_else(|| text.rfind('='));
    let split = split.map(|at| (&text[..at], &text[at + 1..]));
    match split {
        Some((issuer, keys)) if !issuer.is_empty() && !keys.is_empty() => {
            let keys = match address {
                Some(_) => IssuerKeys::Uri(keys.to_owned()),
                None => IssuerKeys::File(keys.into()),
            };
            Ok((issuer.to_owned(), keys))
        }
        _ => Err(format!(
            "{text:?} is not of the form ISSUER=FILE or ISSUER=URL"
        )),
    }
}

/// Istio's JWTRule, as far as istiod goes by it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JwtRule {
    issuer: String,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(alias = "jwks_uri")]
    jwks_uri: Option<String>,
    jwks: Option<String>,
}

/// Those whose tokens are believed.
fn issuers(
    given: Vec<(String, IssuerKeys)>,
    audiences: Option<&str>,
    jwt_rule: Option<String>,
) -> Result<Vec<IssuerOptions>> {
    let audiences = audiences.unwrap_or(AUDIENCE).split(',');
    let audiences: Vec<_> = audiences.map(|it| it.trim().to_owned()).collect();
    let mut issuers: Vec<_> = given
        .into_iter()
        .map(|(issuer, keys)| IssuerOptions {
            issuer,
            audiences: audiences.clone(),
            keys,
        })
        .collect();
    if let Some(text) = jwt_rule {
        issuers.push(jwt_rule_issuer(&text, &audiences).context("JWT_RULE")?);
    }
    Ok(issuers)
}

/// The issuer of `JWT_RULE`.
fn jwt_rule_issuer(text: &str, audiences: &[String]) -> Result<IssuerOptions> {
    let rule: JwtRule = serde_json::from_str(text)?;
    let JwtRule {
        issuer,
        audiences: own,
        jwks_uri,
        jwks,
    } = rule;
    if issuer.is_empty() {
        bail!("issuer: whose tokens are to be believed?");
    }
    let keys = match (jwks_uri, jwks) {
        (Some(_), Some(_)) => bail!("jwks: jwksUri says the same; give one of them"),
        (Some(uri), None) => IssuerKeys::Uri(uri),
        (None, Some(text)) => IssuerKeys::Inline(text),
        (None, None) => {
            let base = issuer.trim_end_matches('/');
            IssuerKeys::Discovery(format!("{base}/.well-known/openid-configuration"))
        }
    };
    Ok(IssuerOptions {
        issuer,
        audiences: if own.is_empty() {
            audiences.to_vec()
        } else {
            own
        },
        keys,
    })
}

/// An address to listen on, if not `off`.
fn address_unless_off(text: &str) -> Result<Option<SocketAddr>> {
    match text {
        "off" => Ok(None),
        text => listen_address(text).map(Some).map_err(anyhow::Error::msg),
    }
}

/// An address to listen on; `:PORT` is every address.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let any = text
        .strip_prefix(':')
        .map(|port| format!("{}:{port}", Ipv4Addr::UNSPECIFIED));
    let address = any.as_deref().unwrap_or(text);
    address
        .parse()
        .map_err(|_| format!("{text:?} is no address with a port"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use meltemi_discovery::IssuerKeys;

    use super::{duration, jwt_rule_issuer, listen_address, token_issuer};

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let cases = [
            ("100ms", 100),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
        for text in ["", "10", "s", "10x", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_of_an_issuer_are_in_a_file_or_at_an_address() {
        let file = |it: &str| IssuerKeys::File(it.into());
        let uri = |it: &str| IssuerKeys::Uri(it.to_owned());
        for (text, issuer, keys) in [
            ("me=keys.json", "me", file("keys.json")),
            ("https://a?b=c=keys", "https://a?b=c", file("keys")),
            (
                "https://a=https://b/k?x=y",
                "https://a",
                uri("https://b/k?x=y"),
            ),
            ("me=http://b/k", "me", uri("http://b/k")),
        ] {
            assert_eq!(token_issuer(text).unwrap(), (issuer.to_owned(), keys));
        }
        for text in ["me", "=keys", "me="] {
            assert!(token_issuer(text).is_err(), "{text}");
        }
        let rule = |text: &str| jwt_rule_issuer(text, &["istio-ca".to_owned()]);
        let found = rule(r#"{"issuer":"https://a/","audiences":["b"]}"#).unwrap();
        let configuration = "https://a/.well-known/openid-configuration".to_owned();
        assert_eq!(found.keys, IssuerKeys::Discovery(configuration));
        assert_eq!(found.audiences, ["b"]);
        let found = rule(r#"{"issuer":"a","jwks_uri":"https://a/k"}"#).unwrap();
        assert_eq!(found.keys, uri("https://a/k"));
        assert_eq!(found.audiences, ["istio-ca"]);
        for text in [
            "{}",
            r#"{"issuer":""}"#,
            r#"{"issuer":"a","jwksuri":"b"}"#,
            r#"{"issuer":"a","jwksUri":"b","jwks":"c"}"#,
        ] {
            assert!(rule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_alone_is_every_address() {
        assert_eq!(listen_address(":8080").unwrap().to_string(), "0.0.0.0:8080");
        assert_eq!(
            listen_address("127.0.0.1:1").unwrap().to_string(),
            "127.0.0.1:1"
        );
        assert!(listen_address("8080").is_err());
    }
}
