//! Policies as Envoy's RBAC rules (FEATURES S8).
//!
//! In: the policies of one action. Out: rules by name. A name is `ns[NS]-policy[NAME]-rule[N]`, which
//! the access log shows where a rule decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_model::{AuthorizationPolicy, AuthorizationRule, Condition, MeshConfig, Wanted};
use meltemi_xds::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac, rbac::Action};

use super::term::Term;
use super::{Layer, permission, principal};

/// What conditions are translated for.
pub(super) struct Context<'a> {
    /// The mesh, for its trust domains.
    pub mesh: &'a MeshConfig,
    /// The policy, for its namespace.
    pub policy: &'a AuthorizationPolicy,
}

/// The condition is about requests, and the chain has none.
pub(super) struct HttpOnly;

/// The rules of some policies of one action, their names with `prefix` before them.
pub(super) fn rules(
    mesh: &MeshConfig,
    policies: &[&Arc<AuthorizationPolicy>],
    action: Action,
    layer: Layer,
    prefix: &str,
) -> Rbac {
    let mut named = BTreeMap::new();
    for policy in policies {
        let context = Context { mesh, policy };
        let name = |index: usize| {
            let meta = &policy.meta;
            format!(
                "{prefix}ns[{}]-policy[{}]-rule[{index}]",
                meta.namespace, meta.name
            )
        };
        if policy.rules.is_empty() {
            named.insert(name(0), never());
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            // A rule that would allow by what is not known here allows nothing; one that would deny
            // does so by what is known.
            let lenient = action != Action::Allow;
            if let Ok(made) = rule_policy(rule, &context, layer, lenient) {
                named.insert(name(index), made);
            }
        }
    }
    Rbac {
        action: action.into(),
        policies: named,
        ..Default::default()
    }
}

/// The rule that nothing matches.
fn never() -> Policy {
    Policy {
        permissions: vec![Permission::any().not()],
        principals: vec![Principal::any().not()],
        ..Default::default()
    }
}

fn rule_policy(
    rule: &AuthorizationRule,
    context: &Context<'_>,
    layer: Layer,
    lenient: bool,
) -> Result<Policy, HttpOnly> {
    let AuthorizationRule { from, to, when } = rule;
    let (what, who): (Vec<_>, Vec<_>) = when.iter().partition(|it| it.is_permission());
    Ok(Policy {
        permissions: alternatives(to, &what, layer, lenient, permission::terms)?,
        principals: alternatives(from, &who, layer, lenient, |it| {
            principal::terms(it, context)
        })?,
        ..Default::default()
    })
}

/// Each of the alternatives with all of `common`; just `common` if there are none.
fn alternatives<T: Term>(
    alternatives: &[Vec<Condition>],
    common: &[&Condition],
    layer: Layer,
    lenient: bool,
    terms: impl Fn(&Condition) -> Vec<T>,
) -> Result<Vec<T>, HttpOnly> {
    let one = |own: &[Condition]| {
        let mut all = Vec::new();
        for condition in own.iter().chain(common.iter().copied()) {
            let known = match (layer, condition) {
                (Layer::Tcp, Condition::Text(attribute, _)) => !attribute.is_http(),
                (Layer::Http | Layer::Tcp, _) => true,
            };
            match (known, lenient) {
                (true, _) => all.extend(terms(condition)),
                (false, true) => {}
                (false, false) => return Err(HttpOnly),
            }
        }
        if all.is_empty() {
            all.push(T::any());
        }
        Ok(T::all_of(all))
    };
    if alternatives.is_empty() {
        return Ok(vec![one(&[])?]);
    }
    alternatives.iter().map(|it| one(it)).collect()
}

/// One of the wanted values, and none of the others, each a term of its own.
pub(super) fn each<V, T: Term>(wanted: &Wanted<V>, term: impl Fn(&V) -> T) -> Vec<T> {
    let list = |values: &[V]| {
        let terms: Vec<_> = values.iter().map(&term).collect();
        (!terms.is_empty()).then(|| T::one_of(terms))
    };
    let any_of = list(&wanted.any_of);
    let none_of = list(&wanted.none_of).map(T::not);
    any_of.into_iter().chain(none_of).collect()
}

/// One of the wanted values, and none of the others, each list a term of its own.
pub(super) fn whole<V, T: Term>(wanted: &Wanted<V>, term: impl Fn(&[V]) -> T) -> Vec<T> {
    let list = |values: &[V]| (!values.is_empty()).then(|| term(values));
    let any_of = list(&wanted.any_of);
    let none_of = list(&wanted.none_of).map(T::not);
    any_of.into_iter().chain(none_of).collect()
}
