//! Why a decision is what it is, in words: for people who ask what a request would meet.

mod words;

use meltemi_ir::{Rbac, RbacAction, RbacRule};

use crate::matcher::Matcher;
use crate::{Decision, Engine, Facts};
pub use words::describe;

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// It is let in.
    pub allowed: bool,
    /// The policy that decides, if one does.
    pub policy: Option<String>,
    /// The whole in a sentence.
    pub because: String,
    /// What each policy says, in the order in which they are asked, up to the one that decides.
    pub policies: Vec<PolicyExplanation>,
}

/// Why a policy matches, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyExplanation {
    /// Its name.
    pub name: String,
    /// It matches.
    pub matches: bool,
    /// What of it matched, or what did not.
    pub because: String,
}

impl Explanation {
    /// Asks the policies, and says why they answer as they do.
    pub fn new(config: &Rbac, facts: &Facts<'_>) -> Self {
        let engine = Engine::new(config);
        let Decision {
            allowed, policy, ..
        } = engine.decide(facts);
        let mut policies = Vec::new();
        for (name, one) in &config.policies {
            let done = one_of(&one.permissions, facts);
            let by = one_of(&one.principals, facts);
            let (matches, because) = match (done, by) {
                (Ok(done), Ok(by)) => (true, format!("{done}, and {by}")),
                (Err(reason), _) | (Ok(_), Err(reason)) => (false, reason),
            };
            policies.push(PolicyExplanation {
                name: name.clone(),
                matches,
                because,
            });
            if matches {
                break;
            }
        }
        let because = match (config.action, policy) {
            (RbacAction::Allow, Some(name)) => format!("policy {name} lets it in"),
            (RbacAction::Allow, None) => "no policy lets it in".to_owned(),
            (RbacAction::Deny, Some(name)) => format!("policy {name} refuses it"),
            (RbacAction::Deny, None) => "no policy refuses it".to_owned(),
            (RbacAction::Log, Some(name)) => format!("policy {name} marks it for the log"),
            (RbacAction::Log, None) => "no policy marks it for the log".to_owned(),
        };
        Self {
            allowed,
            policy: policy.map(str::to_owned),
            because,
            policies,
        }
    }
}

/// Which of the alternatives holds, or why none does.
fn one_of(rules: &[RbacRule], facts: &Facts<'_>) -> Result<String, String> {
    let mut wanted = Vec::new();
    for rule in rules {
        match reason(rule, facts) {
            Ok(found) => return Ok(found),
            Err(missed) => wanted.push(missed),
        }
    }
    match wanted.len() {
        0 => Err("nothing is asked for, which nothing meets".to_owned()),
        1..=3 => Err(wanted.join("; ")),
        more => {
            wanted.truncate(3);
            Err(format!("{}; and {} more", wanted.join("; "), more - 3))
        }
    }
}

/// What of the rule holds, or what does not.
fn reason(rule: &RbacRule, facts: &Facts<'_>) -> Result<String, String> {
    match rule {
        RbacRule::All(rules) => {
            let mut held = Vec::new();
            for rule in rules {
                let found = reason(rule, facts)?;
                if !matches!(rule, RbacRule::Any) || rules.len() == 1 {
                    held.push(found);
                }
            }
            Ok(held.join(", "))
        }
        RbacRule::OneOf(rules) => one_of(rules, facts),
        RbacRule::Not(rule) if **rule == RbacRule::Any => Err("it is meant for nobody".to_owned()),
        RbacRule::Not(rule) => match reason(rule, facts) {
            Ok(found) => Err(format!("it must not be that {found}")),
            Err(missed) => Ok(missed),
        },
        rule if Matcher::new(rule).matches(facts) => Ok(describe(rule)),
        rule => Err(format!("it is not so that {}", describe(rule))),
    }
}
