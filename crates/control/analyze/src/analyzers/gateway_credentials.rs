//! IST0101: credentials of Gateways that are not there where the gateway runs.

use std::collections::BTreeSet;

use meltemi_model::{CertificateSource, ServerTls};

use crate::context::{Context, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.SecretAnalyzer",
    description: "Checks a gateway's referenced secrets for correctness",
    run,
};

fn run(context: &Context) {
    for found in context.gateways() {
        let namespaces: BTreeSet<_> = (context.workloads())
            .filter(|it| found.spec.selector.selects(&it.meta.labels))
            .map(|it| &it.meta.namespace)
            .collect();
        for (at, server) in found.spec.servers.iter().enumerate() {
            let termination = server.tls.as_ref().and_then(ServerTls::termination);
            let sources = termination.into_iter().flat_map(|it| &it.certificates);
            for source in sources {
                let CertificateSource::Secret(name) = source else {
                    continue;
                };
                let secrets = context.snapshot().secrets();
                let missing = (namespaces.iter()).any(|it| secrets.get(it, name).is_none());
                if missing {
                    let path = spec("servers")
                        .index(at)
                        .field("tls")
                        .field("credentialName");
                    let text = format!("Referenced credentialName not found: {name:?}");
                    context.report(Code::ReferencedResourceNotFound, &found, &path, text);
                }
            }
        }
    }
}
