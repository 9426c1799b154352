//! AuthorizationPolicy: from written to valid (FEATURES S8).

use meltemi_api::{FieldPath, authorization_policy as api};

use super::{
    AddressAttribute, AuthorizationAction, AuthorizationPolicy, AuthorizationRule, Condition, Glob,
    TextAttribute, Wanted, template,
};
use crate::check::{Check, filled};
use crate::support::{Row, supported};
use crate::{AddressRange, Kind, Metadata, PolicyTarget, policy_target};

const KIND: Kind = Kind::AuthorizationPolicy;

/// Whether the policy is only tried out.
const DRY_RUN: &str = "istio.io/dry-run";

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec"),
    supported(KIND, "spec.targetRef").note("a Gateway"),
    supported(KIND, "spec.targetRefs").note("Gateways; not what waypoints take"),
    supported(KIND, "metadata.annotations").note("istio.io/dry-run"),
];

/// Checks an AuthorizationPolicy.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::AuthorizationPolicySpec,
    check: &mut Check<'_>,
) -> AuthorizationPolicy {
    let api::AuthorizationPolicySpec {
        selector,
        target_ref,
        target_refs,
        action,
        provider,
        rules,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_rules = at.field("rules");
    let action = convert_action(action, provider, &at, check);
    let meaningless = "without rules nothing ever matches; for every request write `rules: [{}]`";
    if rules.is_empty()
        && matches!(
            action,
            AuthorizationAction::Deny | AuthorizationAction::Custom(_)
        )
    {
        check.invalid(&at_rules, meaningless);
    }
    let converted = rules
        .into_iter()
        .enumerate()
        .map(|(index, rule)| convert_rule(rule, &at_rules.index(index), check))
        .collect();
    let at_dry_run = FieldPath::root()
        .field("metadata")
        .field("annotations")
        .key(DRY_RUN);
    let dry_run = meta.annotation(DRY_RUN).and_then(|text| {
        let value = go_boolean(text);
        if value.is_none() {
            check.invalid(&at_dry_run, format!("`{text}` is neither true nor false"));
        }
        value
    });
    AuthorizationPolicy {
        target: policy_target::convert(selector, target_ref, target_refs, &at, check),
        meta,
        action,
        dry_run: dry_run.unwrap_or_default(),
        rules: converted,
    }
}

/// What stands in the place of a policy that is wrong: for the same workloads as far as they can be
/// told, and otherwise for all of the namespace, nothing is allowed.
pub(crate) fn refuse_everything(
    meta: Metadata,
    spec: api::AuthorizationPolicySpec,
    check: &mut Check<'_>,
) -> AuthorizationPolicy {
    let at = FieldPath::root().field("spec");
    let target =
        policy_target::convert(spec.selector, spec.target_ref, spec.target_refs, &at, check);
    let readable = match &target {
        PolicyTarget::Workloads(_) => check.is_clean(),
        PolicyTarget::Gateways(targets) => check.is_clean() && !targets.is_empty(),
    };
    AuthorizationPolicy {
        meta,
        target: if readable {
            target
        } else {
            PolicyTarget::Workloads(crate::Labels::default())
        },
        action: AuthorizationAction::Deny,
        dry_run: false,
        rules: vec![AuthorizationRule::default()],
    }
}

/// A boolean as Go reads it from text.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn convert_action(
    action: Option<String>,
    provider: Option<api::ExtensionProviderName>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> AuthorizationAction {
    let choices = [("ALLOW", 0), ("DENY", 1), ("AUDIT", 2), ("CUSTOM", 3)];
    let number = filled(action).and_then(|it| check.choice(&at.field("action"), &it, &choices));
    let at_provider = at.field("provider");
    let action = match number.unwrap_or(0) {
        0 => AuthorizationAction::Allow,
        1 => AuthorizationAction::Deny,
        2 => AuthorizationAction::Audit,
        _ => {
            let name = provider.and_then(|it| filled(it.name)).unwrap_or_default();
            if name.is_empty() {
                let what = "with CUSTOM write the name of an extension provider";
                check.invalid(&at_provider.field("name"), what);
            }
            return AuthorizationAction::Custom(name);
        }
    };
    if provider.is_some() {
        check.invalid(&at_provider, "only the action CUSTOM has a provider");
    }
    action
}

fn convert_rule(rule: api::Rule, at: &FieldPath, check: &mut Check<'_>) -> AuthorizationRule {
    let api::Rule { from, to, when } = rule;
    let nothing = "is empty; write an entry or leave it out";
    for (name, empty) in [
        ("from", from.as_ref().is_some_and(Vec::is_empty)),
        ("to", to.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty {
            check.invalid(&at.field(name), nothing);
        }
    }
    let at_from = at.field("from");
    let mut sources = Vec::new();
    for (index, api::From { source }) in from.into_iter().flatten().enumerate() {
        let at = at_from.index(index).field("source");
        let conditions = source.map(|it| convert_source(it, &at, check));
        sources.push(required(conditions, &at, check));
    }
    let at_to = at.field("to");
    let mut operations = Vec::new();
    for (index, api::To { operation }) in to.into_iter().flatten().enumerate() {
        let at = at_to.index(index).field("operation");
        let conditions = operation.map(|it| convert_operation(it, &at, check));
        operations.push(required(conditions, &at, check));
    }
    let at_when = at.field("when");
    let when = when.into_iter().enumerate();
    AuthorizationRule {
        from: sources,
        to: operations,
        when: when
            .filter_map(|(index, it)| convert_condition(it, &at_when.index(index), check))
            .collect(),
    }
}

/// Conditions, of which there must be one: a source that says nothing would be everybody.
fn required(
    conditions: Option<Vec<Condition>>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<Condition> {
    let conditions = conditions.unwrap_or_default();
    if conditions.is_empty() && check.is_clean_below(at) {
        check.invalid(
            at,
            "says nothing; write a condition, or leave the list out for any",
        );
    }
    conditions
}

/// The conditions of a source, in the order in which Istio has them.
fn convert_source(source: api::Source, at: &FieldPath, check: &mut Check<'_>) -> Vec<Condition> {
    let api::Source {
        principals,
        not_principals,
        request_principals,
        not_request_principals,
        trust_domains,
        not_trust_domains,
        service_accounts,
        not_service_accounts,
        namespaces,
        not_namespaces,
        remote_ip_blocks,
        not_remote_ip_blocks,
        ip_blocks,
        not_ip_blocks,
    } = source;
    let accounts = !service_accounts.is_empty() || !not_service_accounts.is_empty();
    let others = !(principals.is_empty()
        && not_principals.is_empty()
        && namespaces.is_empty()
        && not_namespaces.is_empty());
    if accounts && others {
        let what = "name a principal too; keep them apart from principals and namespaces";
        check.invalid(&at.field("serviceAccounts"), what);
    }
    for (name, list) in [
        ("serviceAccounts", &service_accounts),
        ("notServiceAccounts", &not_service_accounts),
    ] {
        check_accounts(list, &at.field(name), check);
    }
    let text = |attribute, (name, not): (&str, &str), lists, check: &mut Check<'_>| {
        let wanted = globs(lists, (&at.field(name), &at.field(not)), check)?;
        Some(Condition::Text(attribute, wanted))
    };
    [
        text(
            TextAttribute::Principal,
            ("principals", "notPrincipals"),
            (principals, not_principals),
            check,
        ),
        text(
            TextAttribute::RequestPrincipal,
            ("requestPrincipals", "notRequestPrincipals"),
            (request_principals, not_request_principals),
            check,
        ),
        text(
            TextAttribute::TrustDomain,
            ("trustDomains", "notTrustDomains"),
            (trust_domains, not_trust_domains),
            check,
        ),
        text(
            TextAttribute::ServiceAccount,
            ("serviceAccounts", "notServiceAccounts"),
            (service_accounts, not_service_accounts),
            check,
        ),
        text(
            TextAttribute::Namespace,
            ("namespaces", "notNamespaces"),
            (namespaces, not_namespaces),
            check,
        ),
        ranges(
            (remote_ip_blocks, not_remote_ip_blocks),
            (&at.field("remoteIpBlocks"), &at.field("notRemoteIpBlocks")),
            check,
        )
        .map(|it| Condition::Address(AddressAttribute::Remote, it)),
        ranges(
            (ip_blocks, not_ip_blocks),
            (&at.field("ipBlocks"), &at.field("notIpBlocks")),
            check,
        )
        .map(|it| Condition::Address(AddressAttribute::Source, it)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `NAME` or `NAMESPACE/NAME`, without wildcards.
fn check_accounts(list: &[String], at: &FieldPath, check: &mut Check<'_>) {
    for (index, account) in list.iter().enumerate() {
        let parts = account.split('/');
        let fits = parts.clone().count() <= 2
            && parts
                .into_iter()
                .all(|it| !it.is_empty() && !it.contains('*'));
        if !fits && !account.is_empty() {
            let what = format!("`{account}` is not an account; write NAME or NAMESPACE/NAME");
            check.invalid(&at.index(index), what);
        }
    }
}

/// The conditions of an operation, in the order in which Istio has them.
fn convert_operation(
    operation: api::Operation,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<Condition> {
    let api::Operation {
        hosts,
        not_hosts,
        methods,
        not_methods,
        paths,
        not_paths,
        ports,
        not_ports,
    } = operation;
    for (name, list) in [("paths", &paths), ("notPaths", &not_paths)] {
        for (index, path) in list.iter().enumerate() {
            if template::is_template(path)
                && let Err(what) = template::check(path)
            {
                check.invalid(&at.field(name).index(index), format!("`{path}`: {what}"));
            }
        }
    }
    let text = |attribute, (name, not): (&str, &str), lists, check: &mut Check<'_>| {
        let wanted = globs(lists, (&at.field(name), &at.field(not)), check)?;
        Some(Condition::Text(attribute, wanted))
    };
    [
        text(
            TextAttribute::Host,
            ("hosts", "notHosts"),
            (hosts, not_hosts),
            check,
        ),
        text(
            TextAttribute::Method,
            ("methods", "notMethods"),
            (methods, not_methods),
            check,
        ),
        text(
            TextAttribute::Path,
            ("paths", "notPaths"),
            (paths, not_paths),
            check,
        ),
        port_list(
            (ports, not_ports),
            (&at.field("ports"), &at.field("notPorts")),
            check,
        )
        .map(Condition::Port),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a key of `when` is about.
enum Key {
    Text(TextAttribute),
    Address(AddressAttribute),
    Port,
}

fn convert_condition(
    written: api::Condition,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<Condition> {
    let api::Condition {
        key,
        values,
        not_values,
    } = written;
    let at_key = at.field("key");
    let Some(key) = filled(key) else {
        check.invalid(&at_key, "write which attribute the condition is about");
        return None;
    };
    if values.is_empty() && not_values.is_empty() {
        check.invalid(at, "write `values` or `notValues`");
        return None;
    }
    let key = match read_key(&key) {
        Ok(key) => key,
        Err(message) => {
            check.invalid(&at_key, message);
            return None;
        }
    };
    let lists = (values, not_values);
    let places = (&at.field("values"), &at.field("notValues"));
    match key {
        Key::Text(attribute) => {
            globs(lists, places, check).map(|it| Condition::Text(attribute, it))
        }
        Key::Address(attribute) => {
            ranges(lists, places, check).map(|it| Condition::Address(attribute, it))
        }
        Key::Port => port_list(lists, places, check).map(Condition::Port),
    }
}

fn read_key(key: &str) -> Result<Key, String> {
    let text = match key {
        "source.ip" => return Ok(Key::Address(AddressAttribute::Source)),
        "remote.ip" => return Ok(Key::Address(AddressAttribute::Remote)),
        "destination.ip" => return Ok(Key::Address(AddressAttribute::Destination)),
        "destination.port" => return Ok(Key::Port),
        "source.namespace" => TextAttribute::Namespace,
        "source.principal" => TextAttribute::Principal,
        "source.serviceAccount" => TextAttribute::ServiceAccount,
        "request.auth.principal" => TextAttribute::RequestPrincipal,
        "request.auth.audiences" => TextAttribute::Audiences,
        "request.auth.presenter" => TextAttribute::Presenter,
        "connection.sni" => TextAttribute::ServerName,
        _ => {
            if let Some(name) = key.strip_prefix("request.headers") {
                match brackets(name).as_deref() {
                    Some([name]) => TextAttribute::Header(name.clone()),
                    _ => return Err(format!("`{key}`: write request.headers[NAME]")),
                }
            } else if let Some(path) = key.strip_prefix("request.auth.claims") {
                let path = brackets(path)
                    .ok_or_else(|| format!("`{key}`: write request.auth.claims[NAME]"))?;
                TextAttribute::Claim(path)
            } else if let Some(rest) = key.strip_prefix("experimental.") {
                let at = rest
                    .find('[')
                    .filter(|_| rest.starts_with("envoy.filters."));
                let parts = at.map(|at| rest.split_at(at));
                match parts.and_then(|(filter, key)| Some((filter, brackets(key)?))) {
                    Some((filter, path)) if path.len() == 1 => TextAttribute::FilterMetadata {
                        filter: filter.to_owned(),
                        key: path.concat(),
                    },
                    _ => {
                        let what = "write experimental.envoy.filters.NAME[KEY]";
                        return Err(format!("`{key}`: {what}"));
                    }
                }
            } else {
                return Err(format!(
                    "unknown attribute `{key}`; see Istio's authorization policy conditions"
                ));
            }
        }
    };
    Ok(Key::Text(text))
}

/// The names in `[a][b]`.
fn brackets(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let names: Vec<_> = inner.split("][").map(str::to_owned).collect();
    let plain = |it: &String| !it.is_empty() && !it.contains(['[', ']']);
    names.iter().all(plain).then_some(names)
}

type Lists = (Vec<String>, Vec<String>);
type Places<'a> = (&'a FieldPath, &'a FieldPath);

fn globs(lists: Lists, places: Places<'_>, check: &mut Check<'_>) -> Option<Wanted<Glob>> {
    wanted(lists, places, check, |text, _, _| Some(Glob::new(text)))
}

fn ranges(lists: Lists, places: Places<'_>, check: &mut Check<'_>) -> Option<Wanted<AddressRange>> {
    wanted(lists, places, check, |text, at, check| {
        let range = text.parse().ok();
        if range.is_none() {
            let what = format!("`{text}` is neither an address nor a range such as 10.0.0.0/8");
            check.invalid(at, what);
        }
        range
    })
}

fn port_list(lists: Lists, places: Places<'_>, check: &mut Check<'_>) -> Option<Wanted<u16>> {
    wanted(lists, places, check, |text, at, check| {
        let number = text.parse().ok();
        if number.is_none() {
            check.invalid(at, format!("`{text}` is not a port; write 1 to 65535"));
        }
        number.and_then(|number| check.port(at, number))
    })
}

fn wanted<T>(
    (values, not_values): Lists,
    (at, at_not): Places<'_>,
    check: &mut Check<'_>,
    mut read: impl FnMut(&str, &FieldPath, &mut Check<'_>) -> Option<T>,
) -> Option<Wanted<T>> {
    let mut list = |values: Vec<String>, at: &FieldPath| {
        let mut read_values = Vec::new();
        for (index, text) in values.iter().enumerate() {
            let at = at.index(index);
            if text.is_empty() {
                check.invalid(&at, "an empty value matches nothing; leave it out");
            } else {
                read_values.extend(read(text, &at, check));
            }
        }
        read_values
    };
    let any_of = list(values, at);
    let none_of = list(not_values, at_not);
    (!any_of.is_empty() || !none_of.is_empty()).then_some(Wanted { any_of, none_of })
}
