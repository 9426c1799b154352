//! Subsets: hosts in groups by their metadata, and which group a request's criteria mean.
//!
//! The cluster makes the groups with every set of hosts; a worker looks one up for each
//! request and balances within it.

use std::collections::HashMap;

use meltemi_ir::{
    Cluster as Config, Locality, SubsetFallback, SubsetKeys, SubsetLb, SubsetSelector, Value,
};

use crate::host::SetSettings;
use crate::{HostEntry, HostSet};

/// The subsets of a set of hosts.
#[derive(Debug, Default)]
pub(crate) struct Subsets {
    pub(crate) sets: Vec<HostSet>,
    /// By selector: the values of its keys, and the subset.
    by_selector: Vec<Vec<(SubsetKeys, usize)>>,
    default: Option<usize>,
}

/// Hosts to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// All of the cluster's.
    Whole,
    /// Those of one of the subsets.
    Subset(usize),
}

/// What a request's criteria mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A subset of their own.
    Selected(usize),
    /// Another group, by the selector's or the cluster's fallback.
    Fallback {
        group: Option<Group>,
        /// Where it has no host, all hosts are chosen from.
        or_whole: bool,
    },
}

impl Subsets {
    pub(crate) fn new(
        settings: &SubsetLb,
        entries: &[(u32, HostEntry)],
        set: SetSettings,
        config: &Config,
    ) -> Self {
        let mut subsets = Self::default();
        let make = |members: Vec<(u32, HostEntry)>| {
            HostSet::new(weigh(settings, entries, members), set, config)
        };
        for selector in &settings.selectors {
            let mut groups: Vec<(SubsetKeys, Vec<(u32, HostEntry)>)> = Vec::new();
            for (priority, entry) in entries {
                for values in values_of(selector, entry, settings.list_as_any) {
                    let at = groups.iter().position(|(other, _)| *other == values);
                    let at = at.unwrap_or_else(|| {
                        groups.push((values, Vec::new()));
                        groups.len() - 1
                    });
                    let members = &mut groups[at].1;
                    if members.is_empty() || !selector.single_host {
                        members.push((*priority, entry.clone()));
                    }
                }
            }
            let by_values = groups
                .into_iter()
                .map(|(values, members)| {
                    subsets.sets.push(make(members));
                    (values, subsets.sets.len() - 1)
                })
                .collect();
            subsets.by_selector.push(by_values);
        }
        let is_default =
            |entry: &HostEntry| has(entry, &settings.default_subset, settings.list_as_any);
        let members: Vec<_> = entries
            .iter()
            .filter(|(_, entry)| is_default(entry))
            .cloned()
            .collect();
        subsets.sets.push(make(members));
        subsets.default = Some(subsets.sets.len() - 1);
        subsets
    }

    /// How many subsets the selectors made.
    pub(crate) fn count(&self) -> usize {
        self.by_selector.iter().map(Vec::len).sum()
    }

    /// Which hosts a request's criteria mean.
    pub(crate) fn find(&self, settings: &SubsetLb, criteria: Option<&SubsetKeys>) -> Found {
        let mut fallback = &settings.fallback;
        let mut or_whole = settings.panic_mode_any;
        if let Some(criteria) = criteria.filter(|criteria| !criteria.is_empty()) {
            if let Some(subset) = self.look_up(settings, |keys| {
                keys.iter().eq(criteria.keys()).then_some(criteria)
            }) {
                return Found::Selected(subset);
            }
            let own = settings
                .selectors
                .iter()
                .find(|selector| selector.keys.iter().eq(criteria.keys()))
                .and_then(|selector| selector.fallback.as_ref());
            if let Some(own) = own {
                (fallback, or_whole) = (own, false);
            }
            if let SubsetFallback::Keys(keys) = fallback {
                let fewer: SubsetKeys = criteria
                    .iter()
                    .filter(|(key, _)| keys.contains(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                return self.find(settings, Some(&fewer));
            }
        }
        let group = match fallback {
            SubsetFallback::Any => Some(Group::Whole),
            SubsetFallback::Default => self.default.map(Group::Subset),
            SubsetFallback::None | SubsetFallback::Keys(_) => None,
        };
        Found::Fallback { group, or_whole }
    }

    fn look_up<'c>(
        &self,
        settings: &SubsetLb,
        fits: impl Fn(&[String]) -> Option<&'c SubsetKeys>,
    ) -> Option<usize> {
        let selectors = settings.selectors.iter().zip(&self.by_selector);
        selectors
            .filter_map(|(selector, subsets)| Some((fits(&selector.keys)?, subsets)))
            .find_map(|(criteria, subsets)| {
                let found = subsets.iter().find(|(values, _)| values == criteria)?;
                Some(found.1)
            })
    }
}

/// The values that put a host in subsets of this selector; none where it lacks a key.
fn values_of(selector: &SubsetSelector, entry: &HostEntry, list_as_any: bool) -> Vec<SubsetKeys> {
    let metadata = entry.host.metadata();
    let mut all = vec![SubsetKeys::new()];
    for key in &selector.keys {
        let values = match metadata.get("envoy.lb", key) {
            None => return Vec::new(),
            Some(Value::List(list)) if list_as_any => list.clone(),
            Some(value) => vec![value.clone()],
        };
        all = all
            .iter()
            .flat_map(|known| {
                values.iter().map(|value| {
                    let mut more = known.clone();
                    more.insert(key.clone(), value.clone());
                    more
                })
            })
            .collect();
    }
    if selector.keys.is_empty() {
        all.clear();
    }
    all
}

fn has(entry: &HostEntry, wanted: &SubsetKeys, list_as_any: bool) -> bool {
    let metadata = entry.host.metadata();
    wanted
        .iter()
        .all(|(key, value)| match metadata.get("envoy.lb", key) {
            Some(Value::List(list)) if list_as_any => list.contains(value),
            found => found == Some(value),
        })
}

/// Gives the members of a subset the weights that their localities have in it.
fn weigh(
    settings: &SubsetLb,
    all: &[(u32, HostEntry)],
    mut members: Vec<(u32, HostEntry)>,
) -> Vec<(u32, HostEntry)> {
    if !settings.locality_weight_aware {
        for (_, entry) in &mut members {
            entry.locality_weight = None;
        }
        return members;
    }
    if !settings.scale_locality_weight {
        return members;
    }
    let count = |entries: &[(u32, HostEntry)]| {
        let mut counts: HashMap<(u32, Locality), u32> = HashMap::new();
        for (priority, entry) in entries {
            let key = (*priority, entry.host.locality().clone());
            *counts.entry(key).or_default() += 1;
        }
        counts
    };
    let (whole, own) = (count(all), count(&members));
    for (priority, entry) in &mut members {
        let key = (*priority, entry.host.locality().clone());
        if let (Some(weight), Some(whole), Some(own)) =
            (&mut entry.locality_weight, whole.get(&key), own.get(&key))
        {
            let scaled = f64::from(*weight) * f64::from(*own) / f64::from(*whole);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not more than the weight was"
            )]
            let scaled = scaled.round() as u32;
            *weight = scaled.max(1);
        }
    }
    members
}
