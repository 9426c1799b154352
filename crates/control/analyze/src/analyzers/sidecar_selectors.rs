//! IST0101, IST0110 and IST0111: Sidecars that select nothing, or what another selects.

use std::collections::BTreeMap;

use meltemi_model::{FieldPath, NamespaceName, Sidecar, Workload};

use super::gateway_conflicts::selector;
use crate::context::{Context, Found, list, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "sidecar.SelectorAnalyzer",
    description: "Checks that sidecars that select workloads select some, and no two the same",
    run,
};

fn run(context: &Context) {
    let mut places: BTreeMap<NamespaceName, Vec<Found<'_, Sidecar>>> = BTreeMap::new();
    for found in context.sidecars() {
        let place = places.entry(found.namespace().clone()).or_default();
        place.push(found);
    }
    for (namespace, sidecars) in &places {
        without_selector(context, namespace, sidecars);
        with_selector(context, namespace, sidecars);
    }
}

fn without_selector(context: &Context, namespace: &NamespaceName, sidecars: &[Found<'_, Sidecar>]) {
    let whole = || (sidecars.iter()).filter(|it| it.spec.workload_selector.is_none());
    if whole().count() < 2 {
        return;
    }
    let text = format!(
        "The Sidecars {} in namespace {:?} have no workload selector, which can lead to undefined behavior.",
        list(whole().map(Found::name)),
        namespace.as_str(),
    );
    for found in whole() {
        let code = Code::MultipleSidecarsWithoutWorkloadSelectors;
        context.report(code, found, &FieldPath::root(), text.clone());
    }
}

fn with_selector(context: &Context, namespace: &NamespaceName, sidecars: &[Found<'_, Sidecar>]) {
    let selects = |found: &Found<'_, Sidecar>, workload: &Workload| {
        let labels = found.spec.workload_selector.as_ref();
        labels.is_some_and(|it| it.selects(&workload.meta.labels))
    };
    let workloads = || (context.workloads()).filter(|it| it.meta.namespace == *namespace);
    for found in sidecars {
        let Some(labels) = &found.spec.workload_selector else {
            continue;
        };
        if !workloads().any(|it| selects(found, it)) {
            let text = format!("Referenced selector not found: {:?}", selector(labels));
            let at = spec("workloadSelector").field("labels");
            context.report(Code::ReferencedResourceNotFound, found, &at, text);
        }
    }
    for workload in workloads() {
        let selecting: Vec<_> = sidecars.iter().filter(|it| selects(it, workload)).collect();
        if selecting.len() < 2 {
            continue;
        }
        let text = format!(
            "The Sidecars {} in namespace {:?} select the same workload pod {:?}, which can lead to undefined behavior.",
            list(selecting.iter().map(|it| it.name())),
            namespace.as_str(),
            format!("{namespace}/{}", workload.meta.name),
        );
        for found in selecting {
            let at = spec("workloadSelector").field("labels");
            let code = Code::ConflictingSidecarWorkloadSelectors;
            context.report(code, found, &at, text.clone());
        }
    }
}
