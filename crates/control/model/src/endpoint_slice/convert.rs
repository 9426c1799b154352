//! EndpointSlices: from written to valid.

use meltemi_api::FieldPath;
use meltemi_api::kubernetes as api;

use super::{EndpointSlice, SliceEndpoint};
use crate::Metadata;
use crate::check::{Check, filled};

const SERVICE: &str = "kubernetes.io/service-name";

/// Checks an EndpointSlice.
pub(crate) fn convert(
    meta: Metadata,
    written: api::EndpointSlice,
    check: &mut Check<'_>,
) -> EndpointSlice {
    let api::EndpointSlice { endpoints, ports } = written;
    let root = FieldPath::root();
    let service = meta.labels.get(SERVICE).unwrap_or_default();
    if service.is_empty() {
        let at = root.field("metadata").field("labels").key(SERVICE);
        check.invalid(&at, "the label names the service that the slice belongs to");
    }
    let at_endpoints = root.field("endpoints");
    let endpoints = endpoints
        .into_iter()
        .enumerate()
        .map(|(index, it)| {
            let api::SliceEndpoint {
                addresses,
                conditions: api::EndpointConditions { ready },
                zone,
            } = it;
            let at = at_endpoints.index(index).field("addresses");
            let mut parsed = Vec::new();
            for (index, text) in addresses.iter().enumerate() {
                match text.parse() {
                    Ok(ip) => parsed.push(ip),
                    Err(_) => {
                        check.invalid(&at.index(index), format!("`{text}` is not an IP address"));
                    }
                }
            }
            SliceEndpoint {
                addresses: parsed,
                ready: ready.unwrap_or(true),
                zone: filled(zone),
            }
        })
        .collect();
    let at_ports = root.field("ports");
    let ports = ports
        .into_iter()
        .enumerate()
        .filter_map(|(index, api::SlicePort { name, port })| {
            let at = at_ports.index(index).field("port");
            let number = check.port(&at, port.unwrap_or_default())?;
            Some((name.unwrap_or_default(), number))
        })
        .collect();
    EndpointSlice {
        service: service.into(),
        endpoints,
        ports,
        meta,
    }
}
