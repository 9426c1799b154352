//! IST0101 and IST0112: destinations that no service is, or whose port is not clear.

use meltemi_model::VirtualService;

use super::{Target, targets};
use crate::context::{Context, Found, list};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "virtualservice.DestinationHostAnalyzer",
    description: "Checks the destination hosts associated with each virtual service",
    run,
};

fn run(context: &Context) {
    for found in context.virtual_services() {
        for target in targets(found.spec) {
            check(context, &found, &target);
        }
    }
}

fn check(context: &Context, found: &Found<'_, VirtualService>, target: &Target<'_>) {
    let destination = target.destination;
    let at = target.path.field("host");
    // What is written, not what it stands for, is what a reader looks for.
    let host = match found.written(&at) {
        "" => destination.host.as_str(),
        written => written,
    };
    let (namespace, seen_by) = (found.namespace(), &found.spec.export_to);
    let Some(service) = context.service(&destination.host, namespace, seen_by) else {
        let what = if target.mirrored {
            "mirror host"
        } else {
            "host"
        };
        let text = format!("Referenced {what} not found: {host:?}");
        return context.report(Code::ReferencedResourceNotFound, found, &at, text);
    };
    match destination.port {
        None if service.ports.len() > 1 => {
            let ports = list(service.ports.iter().map(|it| it.number));
            let text = format!(
                "This VirtualService routes to a service {host:?} that exposes multiple ports {ports}. Specifying a port in the destination is required to disambiguate."
            );
            let code = Code::VirtualServiceDestinationPortSelectorRequired;
            context.report(code, found, &at, text);
        }
        Some(port) if service.port(port).is_none() => {
            let text = format!(
                "Referenced host:port not found: {:?}",
                format!("{host}:{port}")
            );
            context.report(Code::ReferencedResourceNotFound, found, &at, text);
        }
        None | Some(_) => {}
    }
}
