//! Destination rules by namespace and host.
//!
//! In: [`DestinationRule`] resources. Out: the one rule that holds between a client and a service
//! (FEATURES T11): looked for in the client's namespace, then the service's, then the root's; in each
//! the most specific host wins, and a rule that selects the client before one that selects nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meltemi_model::{DefaultExportTo, DestinationRule, Hostname, Labels, NamespaceName};

use crate::named::{ByName, ByNamespace};

/// The destination rules of the mesh.
#[derive(Debug, Clone, Default)]
pub struct DestinationRuleIndex {
    pub(crate) named: ByName<DestinationRule>,
    by_namespace: ByNamespace<Arc<HostRules>>,
}

/// The rules of one namespace.
#[derive(Debug, Clone, Default)]
struct HostRules {
    exact: BTreeMap<Hostname, Vec<Arc<DestinationRule>>>,
    /// The most specific first.
    wildcard: Vec<(Hostname, Vec<Arc<DestinationRule>>)>,
}

impl DestinationRuleIndex {
    /// The rule for requests from a client in `namespace` with `labels` to the service `host` in
    /// `service_namespace`.
    pub fn lookup(
        &self,
        namespace: &NamespaceName,
        labels: &Labels,
        host: &Hostname,
        service_namespace: &NamespaceName,
        root: &NamespaceName,
    ) -> Option<&Arc<DestinationRule>> {
        let client = (namespace != root).then_some(namespace);
        let mut places: Vec<_> = client.into_iter().collect();
        for place in [service_namespace, root] {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places.into_iter().find_map(|place| {
            self.by_namespace
                .get(place)?
                .lookup(place, namespace, labels, host)
        })
    }

    /// Every rule as written, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<DestinationRule>> {
        self.named.iter()
    }

    /// Sorts all of them again; how many.
    pub(crate) fn rebuild(&mut self, exports: &DefaultExportTo) -> usize {
        let namespaces = self.named.iter().map(|it| it.meta.namespace.clone());
        let namespaces = namespaces.collect();
        self.by_namespace = ByNamespace::default();
        self.update(&namespaces, exports)
    }

    /// Sorts the rules of some namespaces again, after changes; how many.
    pub(crate) fn update(
        &mut self,
        namespaces: &BTreeSet<NamespaceName>,
        exports: &DefaultExportTo,
    ) -> usize {
        let mut sorted = 0;
        for namespace in namespaces {
            let mut hosts: BTreeMap<Hostname, Vec<Arc<DestinationRule>>> = BTreeMap::new();
            for mut rule in self.named.in_namespace(namespace) {
                if let Some(to) = exports.of(&rule.export_to, &rule.meta.namespace) {
                    Arc::make_mut(&mut rule).export_to = to;
                }
                sorted += 1;
                add(hosts.entry(rule.host.clone()).or_default(), &rule);
            }
            let rules = (!hosts.is_empty()).then(|| Arc::new(HostRules::new(hosts)));
            self.by_namespace.set(namespace, rules);
        }
        sorted
    }
}

impl HostRules {
    fn new(rules: BTreeMap<Hostname, Vec<Arc<DestinationRule>>>) -> Self {
        let (mut wildcard, exact): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|(host, _)| host.is_wildcard());
        wildcard.sort_by(|(left, _), (right, _)| left.by_specificity(right));
        Self {
            exact: exact.into_iter().collect(),
            wildcard,
        }
    }

    fn lookup(
        &self,
        place: &NamespaceName,
        client: &NamespaceName,
        labels: &Labels,
        host: &Hostname,
    ) -> Option<&Arc<DestinationRule>> {
        let exact = self.exact.get(host).into_iter();
        let wildcard = self
            .wildcard
            .iter()
            .filter(|(pattern, _)| pattern.contains(host))
            .map(|(_, rules)| rules);
        exact.chain(wildcard).find_map(|rules| {
            let visible = || rules.iter().filter(|it| it.export_to.is_visible_in(client));
            let selected = visible().find(|it| {
                let selects = |selector: &Labels| place == client && selector.selects(labels);
                it.workload_selector.as_ref().is_some_and(selects)
            });
            selected.or_else(|| visible().find(|it| it.workload_selector.is_none()))
        })
    }
}

/// Adds a rule to those of its host. Rules with the same selector and visibility become one: the
/// oldest, with the subsets of the others whose names it lacks, and the traffic policy of the oldest
/// that has one.
fn add(rules: &mut Vec<Arc<DestinationRule>>, rule: &Arc<DestinationRule>) {
    let same = |it: &&mut Arc<DestinationRule>| {
        it.workload_selector == rule.workload_selector && it.export_to == rule.export_to
    };
    let Some(older) = rules.iter_mut().find(same) else {
        rules.push(rule.clone());
        return;
    };
    let merged = Arc::make_mut(older);
    for subset in &rule.subsets {
        if merged.subset(subset.name.as_str()).is_none() {
            merged.subsets.push(subset.clone());
        }
    }
    if merged.traffic_policy == Default::default() {
        merged.traffic_policy = rule.traffic_policy.clone();
    }
}
