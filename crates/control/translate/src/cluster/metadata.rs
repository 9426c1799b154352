//! What a cluster says of itself in its `istio` metadata.
//!
//! In: the services behind it. Out: the fields that Istio's telemetry and tools read.

use meltemi_model::{Metadata, Service};
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::name::config_path;
use crate::proto::{fields, list, nested, number, text};

/// The services behind a cluster.
pub(super) fn services<'a>(services: impl IntoIterator<Item = &'a Service>) -> Struct {
    let entry = |service: &Service| -> Value {
        nested(fields([
            ("host", text(service.hostname.as_str())),
            ("name", text(&*service.meta.name)),
            ("namespace", text(service.meta.namespace.as_str())),
        ]))
    };
    let entries = services.into_iter().map(entry).collect();
    fields([("services", list(entries))])
}

/// Adds the port that clients address.
pub(super) fn add_original_port(istio: &mut Struct, port: u16) {
    istio
        .fields
        .insert("default_original_port".to_owned(), number(port));
}

/// Adds the subset.
pub(super) fn add_subset(istio: &mut Struct, subset: &str) {
    istio.fields.insert("subset".to_owned(), text(subset));
}

/// Adds the destination rule that shaped the cluster.
pub(super) fn add_rule(istio: &mut Struct, rule: &Metadata) {
    let path = config_path(meltemi_model::Kind::DestinationRule, rule);
    istio.fields.insert("config".to_owned(), text(path));
}

/// Says that it is outside the mesh.
pub(super) fn add_external(istio: &mut Struct) {
    let value = Value {
        kind: Some(Kind::BoolValue(true)),
    };
    istio.fields.insert("external".to_owned(), value);
}

/// Says that the TLS is not the mesh's own, so that the ALPN filter leaves it alone.
pub(super) fn add_foreign_tls(istio: &mut Struct) {
    istio
        .fields
        .insert("alpn_override".to_owned(), text("false"));
}
