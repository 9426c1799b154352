//! Policies compiled, and what they decide.

use meltemi_ir::{Rbac, RbacAction};

use crate::Facts;
use crate::index::Index;
use crate::matcher::Matcher;

/// Policies, ready to be asked.
#[derive(Debug)]
pub struct Engine {
    action: RbacAction,
    /// Sorted.
    names: Box<[Box<str>]>,
    /// Permissions and principals of each.
    policies: Box<[(Matcher, Matcher)]>,
    index: Option<Index>,
}

/// What policies make of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'e> {
    /// It is let in.
    pub allowed: bool,
    /// The first policy that matches, if one does.
    pub policy: Option<&'e str>,
    /// Its position among [`Engine::policies`].
    pub position: Option<usize>,
    /// Whether it is to be logged, where that is what the policies are for.
    pub log: Option<bool>,
}

impl Engine {
    /// Compiles policies.
    pub fn new(config: &Rbac) -> Self {
        let Rbac { action, policies } = config;
        let names = policies.keys().map(|name| name.as_str().into()).collect();
        let policies: Box<[_]> = policies
            .values()
            .map(|policy| {
                let permissions = Matcher::any_of(&policy.permissions);
                (permissions, Matcher::any_of(&policy.principals))
            })
            .collect();
        Self {
            action: *action,
            names,
            index: Index::new(&policies),
            policies,
        }
    }

    /// What becomes of a request or a connection.
    pub fn decide(&self, facts: &Facts<'_>) -> Decision<'_> {
        let matches = |(permissions, principals): &(Matcher, Matcher)| {
            permissions.matches(facts) && principals.matches(facts)
        };
        let found = match &self.index {
            None => self.policies.iter().position(matches),
            Some(index) => index
                .first(facts, |number| matches(&self.policies[number as usize]))
                .map(|number| number as usize),
        };
        let policy = found.map(|at| &*self.names[at]);
        Decision {
            allowed: match self.action {
                RbacAction::Allow => policy.is_some(),
                RbacAction::Deny => policy.is_none(),
                RbacAction::Log => true,
            },
            policy,
            position: found,
            log: (self.action == RbacAction::Log).then_some(policy.is_some()),
        }
    }

    /// The names of the policies, in the order in which they are asked.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

/// What a log says of a refusal by this policy, or by none.
pub fn denial_details(policy: Option<&str>) -> String {
    let name = policy.unwrap_or("none");
    let name: String = name
        .chars()
        .map(|it| if it.is_ascii_whitespace() { '_' } else { it })
        .collect();
    format!("rbac_access_denied_matched_policy[{name}]")
}
