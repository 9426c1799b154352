//! Which labels of a client decide what it is sent.
//!
//! In: gateways, virtual services, destination rules. Out: the keys of their selectors; clients that
//! agree on these labels (and on what they serve) can share what was made for one of them.

use std::collections::BTreeSet;

use meltemi_model::Labels;

use crate::{DestinationRuleIndex, GatewayIndex, VirtualServiceIndex};

/// The label keys that some selector of clients asks for.
pub(crate) fn selecting_keys(
    gateways: &GatewayIndex,
    virtual_services: &VirtualServiceIndex,
    destination_rules: &DestinationRuleIndex,
) -> BTreeSet<String> {
    let gateways = gateways.iter().map(|it| &it.selector);
    let routes = virtual_services
        .iter()
        .flat_map(|it| &it.http)
        .flat_map(|route| &route.matches)
        .map(|it| &it.source_labels);
    let rules = destination_rules
        .iter()
        .filter_map(|it| it.workload_selector.as_ref());
    gateways
        .chain(routes)
        .chain(rules)
        .flat_map(Labels::iter)
        .map(|(key, _)| key.to_owned())
        .collect()
}
