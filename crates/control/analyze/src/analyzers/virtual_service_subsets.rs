//! IST0101: subsets that no DestinationRule defines.

use super::targets;
use crate::context::Context;
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.DestinationRuleAnalyzer",
    description: "Checks the destination rules associated with each virtual service",
    run,
};

fn run(context: &Context) {
    for found in context.virtual_services() {
        for target in targets(found.spec) {
            let Some(subset) = &target.destination.subset else {
                continue;
            };
            let host = &target.destination.host;
            let mut rules = context.destination_rules();
            let defined = rules.any(|rule| {
                rule.spec.host.contains(host)
                    && (rule.spec.subsets.iter()).any(|it| it.name == *subset)
            });
            if defined {
                continue;
            }
            let at = target.path.field("host");
            let written = match found.written(&at) {
                "" => host.as_str(),
                written => written,
            };
            let what = if target.mirrored {
                "mirror+subset in destinationrule"
            } else {
                "host+subset in destinationrule"
            };
            let name = format!("{written}+{}", subset.as_str());
            let text = format!("Referenced {what} not found: {name:?}");
            context.report(Code::ReferencedResourceNotFound, &found, &at, text);
        }
    }
}
