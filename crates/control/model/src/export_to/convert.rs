//! `exportTo`: from written to valid.

use std::collections::BTreeSet;

use meltemi_api::FieldPath;

use super::{DefaultExportTo, ExportTo};
use crate::NamespaceName;
use crate::check::{Check, is_dns_label};

/// Checks an `exportTo` list; an empty one says nothing. `~` (nobody) is only for services.
pub(crate) fn convert(
    written: &[String],
    at: &FieldPath,
    nobody_allowed: bool,
    check: &mut Check<'_>,
) -> ExportTo {
    let mut namespaces = BTreeSet::new();
    let mut alone = None;
    for (index, entry) in written.iter().enumerate() {
        let here = at.index(index);
        let namespace = match entry.as_str() {
            "*" => {
                alone = Some("*");
                continue;
            }
            "~" if nobody_allowed => {
                alone = Some("~");
                continue;
            }
            "." => check.namespace.clone(),
            name if is_dns_label(name) => NamespaceName::from(name),
            name => {
                check.invalid(
                    &here,
                    format!("`{name}` is not a namespace; write one, \".\" or \"*\""),
                );
                continue;
            }
        };
        if !namespaces.insert(namespace) {
            check.invalid(&here, format!("`{entry}` is there already; remove one"));
        }
    }
    match alone {
        Some(text) if written.len() > 1 => {
            check.invalid(
                at,
                format!("\"{text}\" stands alone; remove the other entries"),
            );
            ExportTo::All
        }
        Some("*") => ExportTo::All,
        _ if written.is_empty() => ExportTo::Unwritten,
        _ => ExportTo::Only(namespaces),
    }
}

/// Checks what the mesh configuration says of resources without a list.
pub(crate) fn convert_default(
    written: Option<&[String]>,
    at: &FieldPath,
    nobody_allowed: bool,
    check: &mut Check<'_>,
) -> DefaultExportTo {
    let Some(written) = written else {
        return DefaultExportTo::All;
    };
    let own = written.iter().any(|it| it == ".");
    let rest: Vec<_> = written.iter().filter(|it| *it != ".").cloned().collect();
    match convert(&rest, at, nobody_allowed, check) {
        ExportTo::Only(namespaces) => DefaultExportTo::Only { own, namespaces },
        ExportTo::Unwritten if own => DefaultExportTo::Only {
            own,
            namespaces: BTreeSet::new(),
        },
        ExportTo::All if own => {
            check.invalid(at, "\"*\" stands alone; remove the other entries");
            DefaultExportTo::All
        }
        ExportTo::Unwritten | ExportTo::All => DefaultExportTo::All,
    }
}
