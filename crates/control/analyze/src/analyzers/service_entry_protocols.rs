//! IST0177: ServiceEntries that give one port of a host several protocols.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_model::{ExportTo, Hostname, ServiceEntry};

use crate::context::{Context, Found, metadata_name, spec};
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
    description: "Checks if multiple ServiceEntries define the same host and port with different protocols",
    run,
};

fn run(context: &Context) {
    let mut ports: BTreeMap<(&Hostname, u16), Vec<Found<'_, ServiceEntry>>> = BTreeMap::new();
    for found in context.service_entries() {
        for host in &found.spec.hosts {
            for port in &found.spec.ports {
                let sharing = ports.entry((host, port.number)).or_default();
                sharing.push(found);
            }
        }
    }
    // An entry that conflicts at several ports is told of once.
    let mut told = BTreeSet::new();
    for ((host, port), sharing) in ports {
        for found in &sharing {
            let others =
                (sharing.iter()).filter(|it| overlap(&it.spec.export_to, &found.spec.export_to));
            let (mut names, mut protocols) = (BTreeSet::new(), BTreeSet::new());
            for it in others {
                names.insert(it.full_name());
                protocols.insert(protocol(it, port));
            }
            if protocols.len() > 1 && told.insert(found.full_name()) {
                let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
                let text = format!(
                    "The ServiceEntries {} define the same host {host} and port {port} with different protocols: {}.",
                    join(names),
                    join(protocols),
                );
                let code = Code::ConflictingServiceEntryProtocol;
                context.report(code, found, &metadata_name(), text);
            }
        }
    }
}

/// The protocol of a port, as written.
fn protocol(found: &Found<'_, ServiceEntry>, port: u16) -> String {
    let at = found.spec.ports.iter().position(|it| it.number == port);
    let path = spec("ports").index(at.unwrap_or_default());
    found.written(&path.field("protocol")).to_ascii_uppercase()
}

/// Whether some namespace sees both.
fn overlap(a: &ExportTo, b: &ExportTo) -> bool {
    match (a, b) {
        (ExportTo::Only(a), ExportTo::Only(b)) => !a.is_disjoint(b),
        (ExportTo::Unwritten | ExportTo::All, _) | (_, ExportTo::Unwritten | ExportTo::All) => true,
    }
}
