//! IST0134: ServiceEntries whose TCP ports need addresses to be told apart.

use meltemi_model::Protocol;

use crate::context::{Context, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "serviceentry.Analyzer",
    description: "Checks the validity of ServiceEntry",
    run,
};

fn run(context: &Context) {
    let metadata = &context.snapshot().mesh().default_config.proxy_metadata;
    let is_on = |key: &str| metadata.get(key).is_some_and(|it| it == "true");
    if is_on("ISTIO_META_DNS_CAPTURE") && is_on("ISTIO_META_DNS_AUTO_ALLOCATE") {
        return;
    }
    for found in context.service_entries() {
        if !found.spec.details.addresses.is_empty() {
            continue;
        }
        for (at, port) in found.spec.ports.iter().enumerate() {
            if matches!(port.protocol, Protocol::Tcp | Protocol::Auto) {
                let path = spec("ports").index(at).field("name");
                let text = "ServiceEntry addresses are required for this protocol.".to_owned();
                let code = Code::ServiceEntryAddressesRequired;
                context.report(code, &found, &path, text);
            }
        }
    }
}
