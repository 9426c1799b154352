//! IST0118 and IST0150: port names that do not tell the protocol.

use meltemi_model::{Protocol, TargetPort};

use super::is_system;
use crate::context::{Context, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "service.PortNameAnalyzer",
    description: "Checks the port names associated with each service",
    run,
};

fn run(context: &Context) {
    for found in context.services() {
        let control_plane = found.spec.meta.labels.get("istio") == Some("pilot");
        if is_system(found.namespace()) || control_plane {
            continue;
        }
        let external = found.spec.external_name.is_some();
        for (at, port) in found.spec.ports.iter().enumerate() {
            let unclear = port.protocol == Protocol::Auto;
            let path = spec("ports").index(at).field("port");
            if external && (unclear || port.name == "tcp") {
                let text = "Port name for ExternalName service is invalid. Proxy may prevent tcp named ports and unmatched traffic for ports serving TCP protocol from being forwarded correctly";
                let code = Code::ExternalNameServiceTypeInvalidPortName;
                context.report(code, &found, &path, text.to_owned());
            } else if unclear {
                let target = match &port.target {
                    TargetPort::Number(number) => number.to_string(),
                    TargetPort::Name(name) => name.clone(),
                };
                let text = format!(
                    "Port name {} (port: {}, targetPort: {target}) doesn't follow the naming convention of Istio port.",
                    port.name, port.number
                );
                let code = Code::PortNameIsNotUnderNamingConvention;
                context.report(code, &found, &path, text);
            }
        }
    }
}
