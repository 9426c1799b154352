//! `meltemi authz check`: which authorization policies hold for a workload, and which of them decides
//! about a request.
//!
//! In: a running proxy's configuration, a configuration dump, or manifests; perhaps a request that
//! nobody has sent. Out: the policies, as istioctl's `experimental authz check` prints them, or what
//! each says to the request.

mod overrides;
mod question;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use meltemi_local::http;
use meltemi_model::{Config, Defaults, WorkloadRole};
use meltemi_snapshot::Snapshot;
use meltemi_translate::{ProxyNode, listeners, route_names, routes};
use meltemi_xds::pb::envoy::config::core::v3::Node;
use meltemi_xds::pb::envoy::config::listener::v3::{Filter, Listener, filter};
use meltemi_xds::pb::envoy::config::rbac::v3::{Rbac, rbac::Action};
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use meltemi_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use meltemi_xds::{any, json};
use prost_types::Any;
use serde_json::json;

use crate::config_dump::ConfigDump;
use crate::locate::{ADMIN_PORT, Locator};
use crate::runtime;
use crate::table::Table;
use crate::terminal::Terminal;

/// What istioctl calls rules of no policy.
const ANONYMOUS: &str = "_anonymous_match_nothing_";

/// Inspect authorization policies
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

/// What is done.
#[derive(Debug, Subcommand)]
enum Kind {
    Check(Check),
}

/// Show the authorization policies that hold for a workload
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Of a running proxy
  meltemi authz check webapp.istioinaction

  # Of manifests, without a mesh
  meltemi authz check webapp.istioinaction -f manifests

  # Of a configuration dump
  curl localhost:15000/config_dump | meltemi authz check -f -

  # Who decides about a request, and why; fails where it is refused
  meltemi authz check webapp.istioinaction --from cluster.local/ns/default/sa/sleep \\
    --method POST --path /admin --header 'x-user: ann'

Nobody but the policies is asked, those of the request's route among them: no token is verified (say
what it claims by --claim), and no external authorizer is called.")]
struct Check {
    /// The workload: a pod, a Deployment, or the beginning of a pod's name
    #[arg(value_name = "POD[.NAMESPACE]", required_unless_present = "file")]
    pod: Option<String>,
    /// Manifests (a file or a directory), or a proxy's configuration dump; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The proxy's administration port
    #[arg(long, value_name = "PORT", default_value_t = ADMIN_PORT)]
    proxy_admin_port: u16,
    #[command(flatten)]
    request: question::Flags,
}

/// Runs the command. Fails where a request is asked about and refused.
pub(crate) fn run(
    arguments: Arguments,
    locator: &Locator,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let Kind::Check(check) = arguments.kind;
    let configured = check.configured(locator, terminal)?;
    let workload = check.pod.as_deref().unwrap_or("workload");
    match check.request.question(workload) {
        None => {
            terminal.print(&table(&policies(&configured.listeners)).to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(question) => explain(&configured, question, terminal),
    }
}

/// What the workload's proxy has.
struct Configured {
    listeners: Vec<Listener>,
    /// The route tables that listeners ask for by name.
    routes: Vec<RouteConfiguration>,
}

/// Prints what the policies say to a request.
fn explain(
    configured: &Configured,
    mut question: question::Question,
    terminal: &Terminal,
) -> Result<ExitCode> {
    let listeners = configured
        .listeners
        .iter()
        .map(|it| meltemi_config::listener(it).with_context(|| format!("listener {}", it.name)));
    let listeners: Vec<_> = listeners.collect::<Result<_>>()?;
    let tables = configured.routes.iter().map(|it| {
        let table = meltemi_config::route_configuration(it);
        let table = table.with_context(|| format!("routes {}", it.name))?;
        Ok((it.name.clone(), Arc::new(table)))
    });
    let tables: verdict::Tables = tables.collect::<Result<_>>()?;
    let verdict = verdict::verdict(&listeners, &tables, &mut question)?;
    let mut table = Table::new(
        ["ACTION", "AuthorizationPolicy", "RULE", "MATCHES", "WHY"],
        3,
    );
    for said in &verdict.policies {
        table.row([
            said.action.to_owned(),
            said.policy.clone(),
            said.rule.clone(),
            if said.matches { "yes" } else { "no" }.to_owned(),
            said.because.clone(),
        ]);
    }
    let port = question
        .port
        .map_or(String::new(), |it| format!(", port {it}"));
    let mut text = format!("{}{port}\n\n", question.describe());
    if !verdict.policies.is_empty() {
        text += &format!("{table}\n");
    }
    let (word, code) = match verdict.allowed {
        true => ("ALLOWED", ExitCode::SUCCESS),
        false => ("DENIED", ExitCode::FAILURE),
    };
    text += &format!("{word}: {}\n", verdict.because);
    terminal.print(&text)?;
    Ok(code)
}

impl Check {
    /// What the workload's proxy has.
    fn configured(&self, locator: &Locator, terminal: &Terminal) -> Result<Configured> {
        match (&self.file, &self.pod) {
            (None, None) => bail!("name a pod, or a file"),
            (None, Some(pod)) => {
                let port = self.proxy_admin_port;
                let answer = runtime::single_threaded()?.block_on(async {
                    let proxy = locator.proxy(pod, port).await?;
                    let answer = http::get(&proxy.admin.to_string(), "/config_dump").await;
                    answer.with_context(|| format!("{pod}: its administration does not answer"))
                })?;
                if !answer.status.is_success() {
                    bail!("{pod}: /config_dump: {}", answer.status);
                }
                dumped(&answer.body, terminal).with_context(|| pod.clone())
            }
            (Some(file), None) => {
                let text = match file.as_os_str() == "-" {
                    true => std::io::read_to_string(std::io::stdin())?.into_bytes(),
                    false => std::fs::read(file).with_context(|| file.display().to_string())?,
                };
                dumped(&text, terminal)
                    .with_context(|| format!("{}: with manifests, name a pod too", file.display()))
            }
            (Some(manifests), Some(pod)) => translated(manifests, pod, terminal),
        }
    }
}

fn dumped(text: &[u8], terminal: &Terminal) -> Result<Configured> {
    let dump = ConfigDump::parse(text)?;
    let (listeners, routes) = (dump.listeners(), dump.routes());
    for problem in listeners.problems.iter().chain(&routes.problems) {
        terminal.warning(&format!("left out: {problem}"));
    }
    Ok(Configured {
        listeners: listeners.messages,
        routes: routes.messages,
    })
}

/// What the control plane would send to the pod's proxy.
fn translated(manifests: &PathBuf, pod: &str, terminal: &Terminal) -> Result<Configured> {
    let roots = std::slice::from_ref(manifests);
    let (configs, problems) = meltemi_source::load_in_effect(roots, Defaults::default())?;
    for problem in problems {
        terminal.warning(&problem.to_string());
    }
    let node = node(configs.iter().map(AsRef::as_ref), pod)?;
    let snapshot = Snapshot::of(configs.iter().map(|it| it.as_ref().clone()));
    let names = route_names(&snapshot, &node);
    let tables = routes(&snapshot, &node, names.iter().map(String::as_str));
    let listeners = listeners(&snapshot, &node);
    let listeners = listeners.values();
    Ok(Configured {
        listeners: listeners
            .map(|it| any::unpack(&it.any).context("a listener of our own"))
            .collect::<Result<_>>()?,
        routes: tables
            .values()
            .map(|it| any::unpack(&it.any).context("routes of our own"))
            .collect::<Result<_>>()?,
    })
}

/// The proxy of the pod that `name` means.
fn node<'a>(configs: impl Iterator<Item = &'a Config>, name: &str) -> Result<ProxyNode> {
    let (wanted, namespace) = match name.split_once('.') {
        Some((pod, namespace)) => (pod, Some(namespace)),
        None => (name, None),
    };
    let wanted = wanted.rsplit_once('/').map_or(wanted, |(_, pod)| pod);
    let mut found = BTreeMap::new();
    for config in configs {
        for workload in config.workloads() {
            let meta = &workload.meta;
            let place = meta.namespace.as_str();
            let mine = *meta.name == *wanted || meta.name.starts_with(&format!("{wanted}-"));
            if mine && namespace.is_none_or(|it| it == place) {
                found.insert(place.to_owned(), workload);
            }
        }
    }
    let mut places = found.into_iter();
    let (place, workload) = match (places.next(), places.next()) {
        (Some(only), None) => only,
        (None, _) => bail!("{name}: no such pod in the manifests"),
        (Some((one, _)), Some((other, _))) => {
            bail!("{name} is in {one} and in {other}; write {wanted}.{one}")
        }
    };
    let meta = &workload.meta;
    let role = match workload.role {
        WorkloadRole::Gateway => "router",
        WorkloadRole::Application => "sidecar",
    };
    let described = json!({
        "id": format!("{role}~192.0.2.1~{}.{place}~{place}.svc.cluster.local", meta.name),
        "metadata": {"LABELS": meta.labels.as_map(), "NAMESPACE": place},
    });
    let node: Node = json::from_json(described).context("a node of our own")?;
    Ok(ProxyNode::parse(&node)?)
}

/// Policies by action and name, with the numbers of their rules.
type Policies = BTreeMap<(u8, String), BTreeSet<String>>;

fn policies(listeners: &[Listener]) -> Policies {
    let mut found = Policies::new();
    let filters = listeners.iter().flat_map(|it| &it.filter_chains);
    for filter in filters.flat_map(|it| &it.filters) {
        for rbac in rules(filter) {
            add(&mut found, &rbac);
        }
    }
    found
}

/// The rules that a network filter enforces.
fn rules(filter: &Filter) -> Vec<Rbac> {
    let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        return Vec::new();
    };
    if let Ok(rbac) = any::unpack::<NetworkRbac>(config) {
        return rbac.rules.into_iter().collect();
    }
    let Ok(manager) = any::unpack::<HttpConnectionManager>(config) else {
        return Vec::new();
    };
    let configs = manager.http_filters.into_iter().filter_map(|it| {
        let http_filter::ConfigType::TypedConfig(config) = it.config_type? else {
            return None;
        };
        Some(config)
    });
    let rbac = |config: Any| any::unpack::<HttpRbac>(&config).ok()?.rules;
    configs.filter_map(rbac).collect()
}

fn add(found: &mut Policies, rbac: &Rbac) {
    // The order in which istioctl shows them.
    let action = match rbac.action() {
        Action::Deny => 0,
        Action::Allow => 1,
        Action::Log => 2,
    };
    if rbac.policies.is_empty() {
        let rules = found.entry((action, ANONYMOUS.to_owned())).or_default();
        rules.insert("0".to_owned());
    }
    for name in rbac.policies.keys() {
        let (policy, rule) = match parts(name) {
            Some((namespace, policy, rule)) => (format!("{policy}.{namespace}"), rule),
            None => (name.clone(), "0"),
        };
        let rules = found.entry((action, policy)).or_default();
        rules.insert(rule.to_owned());
    }
}

/// Namespace, policy and rule of `ns[..]-policy[..]-rule[..]`.
fn parts(name: &str) -> Option<(&str, &str, &str)> {
    let (_, rest) = name.split_once("ns[")?;
    let (namespace, rest) = rest.split_once("]-policy[")?;
    let (policy, rest) = rest.split_once("]-rule[")?;
    let (rule, _) = rest.split_once(']')?;
    Some((namespace, policy, rule))
}

fn table(policies: &Policies) -> Table {
    let mut table = Table::new(["ACTION", "AuthorizationPolicy", "RULES"], 3);
    for ((action, name), rules) in policies {
        let action = ["DENY", "ALLOW", "LOG"][usize::from(*action)];
        table.row([action.to_owned(), name.clone(), rules.len().to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_are_taken_apart() {
        for (name, expected) in [
            ("ns[foo]-policy[web]-rule[2]", Some(("foo", "web", "2"))),
            (
                "istio-ext-authz-ask-ns[foo]-policy[web]-rule[0]-deny-due-to-bad-CUSTOM-action",
                Some(("foo", "web", "0")),
            ),
            ("somebody", None),
        ] {
            assert_eq!(parts(name), expected, "{name}");
        }
    }
}
