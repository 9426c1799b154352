//! What a workload's proxy would say to a request that nobody has sent, and which policies say so.
//!
//! In: the proxy's listeners as the proxy itself understands them, and a question. Out: a verdict,
//! with what each policy said on the way. The policies are asked by the evaluator of the proxy, on
//! the path as the proxy would normalize it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use meltemi_http::{NormalPath, normalize};
use meltemi_ir::{
    ConnectionFilter, FilterChain, HttpConnectionManager, HttpFilterKind, Listener, ListenerFilter,
    NetworkGate, Rbac, RbacAction, RouteConfiguration, RouteFilterKind, RouteFilterSetting,
    RouteSource, TrafficDirection,
};
use meltemi_rbac::{Explanation, Facts};

use super::overrides::Overrides;
use super::question::Question;
use super::{ANONYMOUS, parts};

/// What the names of rules begin with for which an external authorizer is asked.
const ASKED: &str = "istio-ext-authz-";

/// Route tables by name.
pub(super) type Tables = BTreeMap<String, Arc<RouteConfiguration>>;

/// What would become of the request.
#[derive(Debug)]
pub(super) struct Verdict {
    pub allowed: bool,
    /// In a sentence.
    pub because: String,
    /// What each policy says, in the order in which they are asked.
    pub policies: Vec<Opinion>,
}

/// What a policy says.
#[derive(Debug)]
pub(super) struct Opinion {
    pub action: &'static str,
    pub policy: String,
    pub rule: String,
    pub matches: bool,
    pub because: String,
}

/// Asks the policies on the way to the workload.
///
/// # Errors
/// Where the question leaves open which port is meant.
pub(super) fn verdict(
    listeners: &[Listener],
    tables: &Tables,
    question: &mut Question,
) -> Result<Verdict> {
    let chains = guarded(listeners);
    let ports = ports(&chains);
    match (question.port, ports.as_slice()) {
        (Some(_), _) | (None, []) => {}
        (None, [only]) => question.port = Some(*only),
        (None, several) => {
            let list: Vec<_> = several.iter().map(u16::to_string).collect();
            bail!(
                "name one of the workload's ports by --port: {}",
                list.join(", ")
            )
        }
    }
    let chain = match chosen(&chains, question) {
        Ok(chain) => chain,
        Err(because) => {
            return Ok(Verdict {
                allowed: false,
                because,
                policies: Vec::new(),
            });
        }
    };
    let asking = Asking {
        tables,
        policies: Vec::new(),
        providers: Vec::new(),
        let_in: None,
        by_chance: false,
    };
    let mut verdict = asking.chain(chain, question);
    if question.is_identified() && !is_tls(chain) {
        verdict.because += " (the port takes plain text, in which the caller has no identity)";
    }
    Ok(verdict)
}

/// A chain with the port for which it is; none where it is for any.
struct Guarded {
    port: Option<u16>,
    chain: Arc<FilterChain>,
}

/// The chains on the way to the workload; those of a gateway, where there is no workload.
fn guarded(listeners: &[Listener]) -> Vec<Guarded> {
    let inbound = |it: &&Listener| it.direction == TrafficDirection::Inbound;
    let sidecar = listeners.iter().any(|it| inbound(&it));
    let mut found = Vec::new();
    for listener in listeners.iter().filter(|it| !sidecar || inbound(it)) {
        let own = listener.address.port();
        let captures = listener
            .listener_filters
            .contains(&ListenerFilter::OriginalDst);
        let chains = listener.filter_chains.iter();
        for chain in chains.chain(&listener.default_filter_chain) {
            let port = chain.matcher.destination_port;
            // Nothing goes to where captured connections arrive.
            if !captures || port != Some(own) {
                found.push(Guarded {
                    port: port.or((!captures).then_some(own)),
                    chain: chain.clone(),
                });
            }
        }
    }
    found
}

fn ports(chains: &[Guarded]) -> Vec<u16> {
    let mut ports: Vec<_> = chains.iter().filter_map(|it| it.port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The chain that a connection for the question would take, or why none would.
fn chosen<'a>(chains: &'a [Guarded], question: &Question) -> Result<&'a FilterChain, String> {
    let on = |port: Option<u16>| chains.iter().filter(move |it| it.port == port);
    let mut there: Vec<_> = on(question.port).collect();
    if there.is_empty() {
        there = on(None).collect();
    }
    there.retain(|it| serves(&it.chain.matcher.server_names, &question.host));
    // What a request is for comes before what takes any bytes.
    there.sort_by_key(|it| !matches!(it.chain.filter, ConnectionFilter::Http(_)));
    let with = |tls: bool| there.iter().find(|it| is_tls(&it.chain) == tls);
    let open = |it: &&&Guarded| {
        let tls = it.chain.tls.as_ref();
        tls.is_none_or(|it| !it.require_client_certificate)
    };
    let found = match question.is_identified() {
        true => with(true).or_else(|| with(false)),
        false => with(false).or_else(|| with(true).filter(open)),
    };
    match (found, there.is_empty()) {
        (Some(found), _) => Ok(&found.chain),
        (None, false) => Err(
            "the port takes mutual TLS only, and the caller has no certificate (say --from PRINCIPAL)"
                .to_owned(),
        ),
        (None, true) => Err("nothing is served on that port".to_owned()),
    }
}

fn is_tls(chain: &FilterChain) -> bool {
    chain.tls.is_some() || chain.matcher.transport_protocol == "tls"
}

fn serves(names: &[String], host: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default();
    let fits = |name: &String| match name.strip_prefix('*') {
        Some(suffix) => host.ends_with(suffix),
        // A name between proxies of the mesh has the host in its last part.
        None => name == host || name.starts_with("outbound_"),
    };
    names.is_empty() || names.iter().any(fits)
}

/// The policies, asked one after the other.
struct Asking<'a> {
    tables: &'a Tables,
    policies: Vec<Opinion>,
    /// Who would have to be asked, whom nobody can ask here.
    providers: Vec<String>,
    /// What let it in last.
    let_in: Option<String>,
    /// Policies depend on which of several clusters is chosen.
    by_chance: bool,
}

impl Asking<'_> {
    fn chain(mut self, chain: &FilterChain, question: &Question) -> Verdict {
        let over_tls = is_tls(chain) && question.is_identified();
        let connection = question.facts(None, over_tls);
        for gate in &chain.gates {
            if let NetworkGate::Rbac(rbac) = gate {
                let asked =
                    self.rules(rbac.shadow_rules.as_ref(), rbac.rules.as_ref(), &connection);
                if let Err(because) = asked {
                    return self.refused(because);
                }
            }
        }
        let answer = match &chain.filter {
            ConnectionFilter::Http(manager) => self.requests(manager, question, over_tls),
            ConnectionFilter::Tcp(_)
            | ConnectionFilter::Redis(_)
            | ConnectionFilter::DirectResponse(_)
            | ConnectionFilter::Echo => Ok(()),
        };
        if let Err(because) = answer {
            return self.refused(because);
        }
        let mut because = match (self.let_in.take(), self.providers.as_slice()) {
            (Some(because), []) => because,
            (None, []) => "no policy refuses it".to_owned(),
            (_, providers) => format!(
                "if {} says so, which is not asked here; no other policy refuses it",
                providers.join(" and ")
            ),
        };
        if self.by_chance {
            because +=
                " (some of the route's clusters have policies of their own, which are not asked)";
        }
        Verdict {
            allowed: true,
            because,
            policies: self.policies,
        }
    }

    fn refused(self, because: String) -> Verdict {
        Verdict {
            allowed: false,
            because,
            policies: self.policies,
        }
    }

    fn requests(
        &mut self,
        manager: &HttpConnectionManager,
        question: &Question,
        over_tls: bool,
    ) -> Result<(), String> {
        let path = match normalize(&question.path, &manager.path) {
            NormalPath::Unchanged => question.path.clone(),
            NormalPath::Changed(path) => path,
            NormalPath::Redirect(path) => {
                return Err(format!(
                    "the client is sent to {path} before anybody is asked"
                ));
            }
            NormalPath::Reject => {
                return Err("the path is refused before anybody is asked".to_owned());
            }
        };
        let facts = question.facts(Some(&path), over_tls);
        let table = match &manager.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds { name, source: _ } => self.tables.get(name),
        };
        let overrides = table.map(|it| Overrides::of(it, &question.view(&path, over_tls)));
        let overrides = overrides.unwrap_or_default();
        for filter in &manager.filters {
            let HttpFilterKind::Rbac(own) = &filter.kind else {
                continue;
            };
            self.by_chance |= overrides.is_by_chance(&filter.name);
            let rbac = match overrides.setting(&filter.name) {
                Some(RouteFilterSetting::Disabled) => continue,
                Some(RouteFilterSetting::Enabled) => own,
                Some(RouteFilterSetting::Config(RouteFilterKind::Rbac(other))) => other,
                Some(RouteFilterSetting::Config(_)) | None if filter.disabled => continue,
                Some(RouteFilterSetting::Config(_)) | None => own,
            };
            self.rules(rbac.shadow_rules.as_ref(), rbac.rules.as_ref(), &facts)?;
        }
        Ok(())
    }

    /// Asks the rules of one filter; why it is refused, where they refuse it.
    fn rules(
        &mut self,
        tried: Option<&Arc<Rbac>>,
        enforced: Option<&Arc<Rbac>>,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        if let Some(rules) = tried {
            let asked = Explanation::new(rules, facts);
            self.note(rules, &asked, true);
            if let Some(provider) = asked.policy.as_deref().and_then(provider) {
                self.providers.push(provider.to_owned());
            }
        }
        let Some(rules) = enforced else {
            return Ok(());
        };
        let asked = Explanation::new(rules, facts);
        self.note(rules, &asked, false);
        let decider = asked.policy.as_deref().map(named);
        match (rules.action, decider, asked.allowed) {
            (RbacAction::Deny, Some((policy, _)), false)
                if asked
                    .policy
                    .as_deref()
                    .is_some_and(|it| it.starts_with(ASKED)) =>
            {
                Err(format!(
                    "CUSTOM policy {policy} names a provider that is not there, or not alone, and so refuses it"
                ))
            }
            (RbacAction::Deny, Some((policy, rule)), false) => {
                Err(format!("DENY policy {policy}, rule {rule}, refuses it"))
            }
            (_, _, false) => Err("there are ALLOW policies, and none lets it in".to_owned()),
            (RbacAction::Allow, Some((policy, rule)), true) => {
                self.let_in = Some(format!("ALLOW policy {policy}, rule {rule}, lets it in"));
                Ok(())
            }
            (_, _, true) => Ok(()),
        }
    }

    fn note(&mut self, rules: &Rbac, asked: &Explanation, tried: bool) {
        let action = |name: &str| match rules.action {
            _ if provider(name).is_some() => "CUSTOM",
            RbacAction::Deny if tried => "DENY (dry run)",
            RbacAction::Allow if tried => "ALLOW (dry run)",
            RbacAction::Deny => "DENY",
            RbacAction::Allow => "ALLOW",
            RbacAction::Log => "AUDIT",
        };
        if rules.policies.is_empty() {
            self.policies.push(Opinion {
                action: action(""),
                policy: ANONYMOUS.to_owned(),
                rule: "-".to_owned(),
                matches: false,
                because: "it has no rules".to_owned(),
            });
        }
        for said in &asked.policies {
            let (policy, rule) = named(&said.name);
            self.policies.push(Opinion {
                action: action(&said.name),
                policy,
                rule,
                matches: said.matches,
                because: said.because.clone(),
            });
        }
    }
}

/// The policy as `NAME.NAMESPACE`, and the number of its rule.
fn named(name: &str) -> (String, String) {
    match parts(name) {
        Some((namespace, policy, rule)) => (format!("{policy}.{namespace}"), rule.to_owned()),
        None => (name.to_owned(), "-".to_owned()),
    }
}

/// The external authorizer for which a rule of this name marks requests.
fn provider(name: &str) -> Option<&str> {
    let (provider, _) = name.strip_prefix(ASKED)?.split_once("-ns[")?;
    Some(provider)
}
