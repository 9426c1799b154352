//! Namespaces: from written to valid. A namespace is its metadata.

use super::{Injection, Namespace};
use crate::Metadata;

/// Reads what the labels of a namespace say.
pub(crate) fn convert(meta: Metadata) -> Namespace {
    let injection = match meta.labels.get("istio-injection") {
        Some("enabled") => Injection::Enabled,
        Some("disabled") => Injection::Disabled,
        Some(_) => Injection::Unset,
        None if meta.labels.get("istio.io/rev").is_some() => Injection::Enabled,
        None => Injection::Unset,
    };
    let network = meta
        .labels
        .get("topology.istio.io/network")
        .map(str::to_owned);
    Namespace {
        meta,
        injection,
        network,
    }
}
