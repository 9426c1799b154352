//! Which namespaces are of the mesh (FEATURES C4).
//!
//! In: `discoverySelectors`. Out: [`NamespaceSelector`]s, and whether one of them selects labels.

use std::collections::BTreeSet;

use meltemi_api::FieldPath;
use meltemi_api::mesh_config as api;

use crate::Labels;
use crate::check::Check;

/// A selector of Kubernetes: every pair and every requirement holds. An empty one selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceSelector {
    /// `matchLabels`.
    pub labels: Labels,
    /// `matchExpressions`.
    pub requirements: Vec<LabelRequirement>,
}

/// One of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    /// `key`.
    pub key: String,
    /// `operator`.
    pub operator: LabelOperator,
    /// `values`.
    pub values: BTreeSet<String>,
}

/// What is asked of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It has none of them, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether it selects a namespace with these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.labels.selects(labels) && self.requirements.iter().all(|it| it.holds(labels))
    }
}

impl LabelRequirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|it| self.values.contains(it)),
            LabelOperator::NotIn => value.is_none_or(|it| !self.values.contains(it)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// Checks the selectors.
pub(super) fn convert(
    written: Vec<api::NamespaceSelector>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Vec<NamespaceSelector> {
    let mut selectors = Vec::new();
    for (index, selector) in written.into_iter().enumerate() {
        let api::NamespaceSelector {
            match_labels,
            match_expressions,
        } = selector;
        let at = at.index(index).field("matchExpressions");
        let mut requirements = Vec::new();
        for (index, it) in match_expressions.into_iter().enumerate() {
            requirements.extend(requirement(it, &at.index(index), check));
        }
        selectors.push(NamespaceSelector {
            labels: Labels::new(match_labels),
            requirements,
        });
    }
    selectors
}

fn requirement(
    written: api::LabelRequirement,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<LabelRequirement> {
    let api::LabelRequirement {
        key,
        operator,
        values,
    } = written;
    if key.is_empty() {
        check.invalid(&at.field("key"), "write the label's name");
    }
    let choices = [
        ("In", LabelOperator::In),
        ("NotIn", LabelOperator::NotIn),
        ("Exists", LabelOperator::Exists),
        ("DoesNotExist", LabelOperator::DoesNotExist),
    ];
    let operator = check.choice(&at.field("operator"), &operator, &choices)?;
    let wants_values = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
    if wants_values == values.is_empty() {
        let what = match wants_values {
            true => "write at least one value",
            false => "has no meaning with Exists and DoesNotExist; remove it",
        };
        check.invalid(&at.field("values"), what);
    }
    Some(LabelRequirement {
        key,
        operator,
        values: values.into_iter().collect(),
    })
}
