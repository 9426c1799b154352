//! PeerAuthentication: from written to valid (FEATURES S5).

use std::collections::BTreeMap;

use meltemi_api::destination_rule::WorkloadSelector;
use meltemi_api::{FieldPath, peer_authentication as api};

use super::{MutualTlsMode, PeerAuthentication};
use crate::check::{Check, filled};
use crate::support::{Row, supported};
use crate::{Kind, Labels, Metadata};

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[supported(Kind::PeerAuthentication, "spec")];

/// Checks a PeerAuthentication.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::PeerAuthenticationSpec,
    check: &mut Check<'_>,
) -> PeerAuthentication {
    let api::PeerAuthenticationSpec {
        selector,
        mtls,
        port_level_mtls,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_labels = at.field("selector").field("matchLabels");
    let selector = selector
        .map(|WorkloadSelector { match_labels }| check.labels(&at_labels, match_labels))
        .filter(|it: &Labels| !it.is_empty());
    let at_ports = at.field("portLevelMtls");
    if port_level_mtls.as_ref().is_some_and(BTreeMap::is_empty) {
        check.invalid(&at_ports, "names no port; write one, or leave it out");
    }
    let port_level_mtls = port_level_mtls.unwrap_or_default();
    if selector.is_none() && !port_level_mtls.is_empty() {
        let what = "ports are those of certain workloads; write a selector";
        check.invalid(&at_ports, what);
    }
    let mut ports = BTreeMap::new();
    for (number, written) in port_level_mtls {
        let at = at_ports.key(&number);
        let mode = convert_mode(Some(written), &at, check);
        match number.parse() {
            Ok(number) => {
                if let Some(port) = check.port(&at, number) {
                    ports.insert(port, mode);
                }
            }
            Err(_) => check.invalid(&at, format!("`{number}` is not a port; write 1 to 65535")),
        }
    }
    PeerAuthentication {
        meta,
        selector,
        mode: convert_mode(mtls, &at.field("mtls"), check),
        ports,
    }
}

/// What stands in the place of a policy that is wrong: for the same workloads as far as they can be
/// told, and otherwise for all of the namespace, mutual TLS is required.
pub(crate) fn require_everywhere(
    meta: Metadata,
    spec: api::PeerAuthenticationSpec,
    check: &mut Check<'_>,
) -> PeerAuthentication {
    let at = FieldPath::root().field("spec").field("selector");
    let labels = spec.selector.map(|it| check.labels(&at, it.match_labels));
    let readable = check.is_clean();
    PeerAuthentication {
        meta,
        selector: labels.filter(|it| readable && !it.is_empty()),
        mode: Some(MutualTlsMode::Strict),
        ports: BTreeMap::new(),
    }
}

fn convert_mode(
    written: Option<api::MutualTls>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<MutualTlsMode> {
    let api::MutualTls { mode } = written?;
    let choices = [
        ("UNSET", None),
        ("DISABLE", Some(MutualTlsMode::Disable)),
        ("PERMISSIVE", Some(MutualTlsMode::Permissive)),
        ("STRICT", Some(MutualTlsMode::Strict)),
    ];
    check.choice(&at.field("mode"), &filled(mode)?, &choices)?
}
