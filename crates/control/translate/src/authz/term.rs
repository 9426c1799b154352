//! Permissions and principals alike: terms that are joined.
//!
//! In: terms. Out: their conjunction, their disjunction, their opposite.

use meltemi_xds::pb::envoy::config::rbac::v3::{
    Permission, Principal,
    permission::{self, Rule},
    principal::{self, Identifier},
};

/// A permission or a principal.
pub(super) trait Term: Sized {
    /// Everything.
    fn any() -> Self;
    /// All of them.
    fn all_of(terms: Vec<Self>) -> Self;
    /// One of them.
    fn one_of(terms: Vec<Self>) -> Self;
    /// Everything but this.
    fn not(self) -> Self;
}

impl Term for Permission {
    fn any() -> Self {
        permission_of(Rule::Any(true))
    }

    fn all_of(rules: Vec<Self>) -> Self {
        permission_of(Rule::AndRules(permission::Set { rules }))
    }

    fn one_of(rules: Vec<Self>) -> Self {
        permission_of(Rule::OrRules(permission::Set { rules }))
    }

    fn not(self) -> Self {
        permission_of(Rule::NotRule(Box::new(self)))
    }
}

impl Term for Principal {
    fn any() -> Self {
        principal_of(Identifier::Any(true))
    }

    fn all_of(ids: Vec<Self>) -> Self {
        principal_of(Identifier::AndIds(principal::Set { ids }))
    }

    fn one_of(ids: Vec<Self>) -> Self {
        principal_of(Identifier::OrIds(principal::Set { ids }))
    }

    fn not(self) -> Self {
        principal_of(Identifier::NotId(Box::new(self)))
    }
}

/// The permission with this rule.
pub(super) fn permission_of(rule: Rule) -> Permission {
    Permission { rule: Some(rule) }
}

/// The principal with this identifier.
pub(super) fn principal_of(identifier: Identifier) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}
