//! The support table against the protocol's own descriptors.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_xds::pool;
use prost_reflect::{Kind, MessageDescriptor};

use crate::FieldState;
use crate::support::{SupportRow, rows, supported_extensions, supported_type_urls};

/// The resources, which nothing else holds.
const ROOTS: &[&str] = &[
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.config.listener.v3.Listener",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
];

fn by_message() -> BTreeMap<String, Vec<SupportRow>> {
    let mut by_message: BTreeMap<String, Vec<SupportRow>> = BTreeMap::new();
    for row in rows() {
        by_message.entry(row.message.clone()).or_default().push(row);
    }
    by_message
}

fn descriptor(name: &str) -> MessageDescriptor {
    pool()
        .get_message_by_name(name)
        .unwrap_or_else(|| panic!("no message is called {name}"))
}

#[test]
fn every_field_of_every_message_has_one_row() {
    for (message, rows) in by_message() {
        let mut declared: Vec<_> = rows.iter().map(|row| row.field.to_owned()).collect();
        declared.sort();
        let mut actual: Vec<_> = descriptor(&message)
            .fields()
            .map(|field| field.name().to_owned())
            .collect();
        actual.sort();
        assert_eq!(declared, actual, "fields of {message}");
    }
}

#[test]
fn every_message_that_is_reached_has_rows() {
    let by_message = by_message();
    let mut queue: Vec<String> = ROOTS.iter().map(|&name| name.to_owned()).collect();
    queue.extend(
        supported_extensions()
            .iter()
            .map(|extension| extension.type_name.to_owned()),
    );
    let mut seen = BTreeSet::new();
    let mut missing = Vec::new();
    while let Some(name) = queue.pop() {
        if name.starts_with("google.protobuf.") || !seen.insert(name.clone()) {
            continue;
        }
        let message = descriptor(&name);
        let Some(rows) = by_message.get(&name) else {
            if message.fields().count() > 0 {
                missing.push(name);
            }
            continue;
        };
        for row in rows {
            if matches!(row.state, FieldState::Honoured | FieldState::Partly) {
                let field = message.get_field_by_name(row.field).unwrap();
                let kind = if field.is_map() {
                    let Kind::Message(entry) = field.kind() else {
                        unreachable!()
                    };
                    entry.map_entry_value_field().kind()
                } else {
                    field.kind()
                };
                if let Kind::Message(inner) = kind {
                    queue.push(inner.full_name().to_owned());
                }
            }
        }
    }
    assert!(missing.is_empty(), "messages without rows: {missing:#?}");
    // What is declared is reached, except what is refused where it stands.
    for name in by_message.keys() {
        if !seen.contains(name) && !name.ends_with(".TypedStruct") {
            assert!(
                WITHIN_REFUSED.contains(&name.as_str()),
                "{name} is declared and never reached"
            );
        }
    }
}

/// Wrappers inside an `Any`.
const WITHIN_REFUSED: &[&str] = &["envoy.config.route.v3.FilterConfig"];

#[test]
fn refused_fields_and_notes_make_sense() {
    for row in rows() {
        let bare = row.note.is_empty();
        let (message, field) = (&row.message, row.field);
        match row.state {
            FieldState::Honoured => assert!(bare, "{message}.{field} needs no note"),
            FieldState::Ignored => assert!(!bare, "{message}.{field} needs a reason"),
            FieldState::Partly | FieldState::Refused => {}
        }
    }
}

#[test]
fn every_extension_has_a_message() {
    for extension in supported_extensions() {
        descriptor(extension.type_name);
    }
    let urls = supported_type_urls();
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    assert!(urls.iter().any(|url| url == router));
    assert!(urls.is_sorted());
}
