//! IST0173 and IST0174: DestinationRules for hosts that are not there, subsets that select nothing.

use meltemi_model::{DestinationRule, FieldPath, Service, Workload};

use crate::context::{Context, Found, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "destinationrule.SubsetSelectPodAnalyzer",
    description: "Checks if pods are selected by subsets in destination rules.",
    run,
};

fn run(context: &Context) {
    for found in context.destination_rules() {
        let services = services(context, &found);
        if services.is_empty() {
            let at = spec("host");
            let text = format!(
                "The host {} defined in the DestinationRule does not match any services in the mesh.",
                found.written(&at)
            );
            let code = Code::UnknownDestinationRuleHost;
            context.report(code, &found, &FieldPath::root(), text);
            continue;
        }
        for (at, subset) in found.spec.subsets.iter().enumerate() {
            let selected = (services.iter()).any(|service| {
                written_endpoints(service).any(|labels| subset.labels.selects(labels))
                    || (context.workloads())
                        .filter(|it| is_of(it, service))
                        .any(|it| it.is_of_subset(&subset.labels))
            });
            if !selected && !subset.labels.is_empty() {
                let text = format!(
                    "The Subset {} defined in the DestinationRule does not select any pods. Which may lead to 503 UH (NoHealthyUpstream).",
                    subset.name.as_str()
                );
                let path = spec("subsets").index(at).field("name");
                let code = Code::DestinationRuleSubsetNotSelectPods;
                context.report(code, &found, &path, text);
            }
        }
    }
}

/// The services that the rule is for.
fn services<'a>(context: &'a Context, found: &Found<'_, DestinationRule>) -> Vec<&'a Service> {
    let DestinationRule {
        host, export_to, ..
    } = found.spec;
    let all = context.snapshot().services().iter();
    let matching = all.filter(|it| host.contains(&it.hostname));
    let matching: Vec<_> = matching.map(AsRef::as_ref).collect();
    if matching.is_empty() {
        let wider = context.service(host, found.namespace(), export_to);
        return wider.into_iter().map(AsRef::as_ref).collect();
    }
    matching
}

/// The labels of the endpoints that a ServiceEntry lists.
fn written_endpoints(service: &Service) -> impl Iterator<Item = &meltemi_model::Labels> {
    let entry = service.entry.iter();
    entry.flat_map(|it| &it.endpoints).map(|it| &it.labels)
}

fn is_of(workload: &Workload, service: &Service) -> bool {
    workload.meta.namespace == service.meta.namespace
        && (service.selector.as_ref()).is_some_and(|it| it.selects(&workload.meta.labels))
}
