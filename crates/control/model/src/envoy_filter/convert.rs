//! EnvoyFilters: from written to valid (FEATURES X1).

use meltemi_api::authorization_policy::PolicyTargetReference;
use meltemi_api::{FieldPath, envoy_filter as api};
use serde_json::Value;

use super::convert_match::{convert_match, names_filter};
use super::{
    ApplyTo, ConfigPatch, EnvoyFilter, FilterClass, ObjectMatch, PatchOperation, PatchValue,
};
use crate::check::{Check, filled};
use crate::service_entry::convert_selector;
use crate::support::{Row, rejected, supported};
use crate::{Kind, Metadata};

const KIND: Kind = Kind::EnvoyFilter;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec"),
    supported(KIND, "spec.targetRefs").note("kind Gateway of gateway.networking.k8s.io"),
    supported(KIND, "spec.configPatches[].applyTo")
        .note("EXTENSION_CONFIG is served over ECDS; BOOTSTRAP is applied by the agent when a proxy starts"),
    rejected(KIND, "spec.configPatches[].match.waypoint").note("there are no waypoints yet"),
    rejected(KIND, "spec.configPatches[].match.listener.portName").note("nor in Istio"),
    supported(KIND, "spec.configPatches[].patch.value")
        .note("read strictly: a field or type that the message does not have is an error"),
];

/// Checks an EnvoyFilter.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::EnvoyFilterSpec,
    check: &mut Check<'_>,
) -> EnvoyFilter {
    let api::EnvoyFilterSpec {
        workload_selector,
        target_refs,
        priority,
        config_patches,
    } = spec;
    let at = FieldPath::root().field("spec");
    let selector = convert_selector(workload_selector, &at.field("workloadSelector"), check);
    let selector = selector.filter(|it| !it.is_empty());
    let at_targets = at.field("targetRefs");
    if selector.is_some() && !target_refs.is_empty() {
        check.invalid(
            &at_targets,
            "cannot stand beside workloadSelector; write one",
        );
    }
    let mut gateways = Vec::new();
    for (index, written) in target_refs.into_iter().enumerate() {
        gateways.extend(convert_target(
            written,
            &at_targets.index(index),
            &meta,
            check,
        ));
    }
    let at_priority = at.field("priority");
    let priority = priority.unwrap_or_default();
    let narrow = i32::try_from(priority);
    if narrow.is_err() {
        let what = format!("{priority} is not between {} and {}", i32::MIN, i32::MAX);
        check.invalid(&at_priority, what);
    }
    let at_patches = at.field("configPatches");
    let patches = config_patches.into_iter().enumerate();
    let patches =
        patches.filter_map(|(index, it)| convert_patch(index, it, &at_patches.index(index), check));
    EnvoyFilter {
        workload_selector: selector,
        gateways,
        priority: narrow.unwrap_or_default(),
        patches: patches.collect(),
        meta,
    }
}

/// The name of the gateway that is meant.
pub(crate) fn convert_target(
    written: PolicyTargetReference,
    at: &FieldPath,
    meta: &Metadata,
    check: &mut Check<'_>,
) -> Option<String> {
    let PolicyTargetReference {
        group,
        kind,
        name,
        namespace,
    } = written;
    let elsewhere = filled(namespace).filter(|it| *it != meta.namespace.as_str());
    if elsewhere.is_some() {
        let what = "a target is in the namespace of what names it; leave it out";
        check.invalid(&at.field("namespace"), what);
    }
    let (group, kind) = (filled(group), filled(kind));
    if (group.as_deref(), kind.as_deref()) != (Some("gateway.networking.k8s.io"), Some("Gateway")) {
        let kind = kind.unwrap_or_default();
        check.unsupported(&at.field("kind"), &format!("the target `{kind}`"));
    }
    let name = filled(name);
    if name.is_none() {
        check.invalid(&at.field("name"), "a name is needed");
    }
    name
}

fn convert_patch(
    index: usize,
    written: api::ConfigPatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ConfigPatch> {
    let api::ConfigPatch {
        apply_to,
        matching,
        patch,
    } = written;
    let apply_to = convert_apply_to(apply_to, &at.field("applyTo"), check);
    let at_patch = at.field("patch");
    let Some(patch) = patch else {
        check.invalid(&at_patch, "a patch is needed");
        return None;
    };
    let api::Patch {
        operation,
        value,
        filter_class,
    } = patch;
    let operation = convert_operation(operation, &at_patch.field("operation"), check);
    let filter_class = convert_class(filter_class, &at_patch.field("filterClass"), check);
    let value = convert_value(value, operation, &at_patch.field("value"), check);
    let apply_to = apply_to?;
    let at_match = at.field("match");
    let (context, proxy, object) =
        convert_match(matching.unwrap_or_default(), apply_to, &at_match, check);
    let operation = operation?;
    let has_effect = has_effect(apply_to, operation, &at_patch.field("operation"), check);
    let has_place = has_place(apply_to, operation, &object, &at_match, check);
    let for_filters = matches!(apply_to, ApplyTo::HttpFilter | ApplyTo::NetworkFilter);
    if filter_class != FilterClass::Unspecified && !for_filters {
        let what = "is for HTTP_FILTER and NETWORK_FILTER; remove it";
        check.invalid(&at_patch.field("filterClass"), what);
    }
    (has_effect && has_place).then(|| ConfigPatch {
        index,
        apply_to,
        context,
        proxy,
        object,
        operation: effective(apply_to, operation),
        filter_class,
        value: value.filter(|_| operation != PatchOperation::Remove),
    })
}

fn convert_apply_to(
    written: Option<String>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<ApplyTo> {
    const CHOICES: [(&str, ApplyTo); 11] = [
        ("LISTENER", ApplyTo::Listener),
        ("FILTER_CHAIN", ApplyTo::FilterChain),
        ("NETWORK_FILTER", ApplyTo::NetworkFilter),
        ("HTTP_FILTER", ApplyTo::HttpFilter),
        ("ROUTE_CONFIGURATION", ApplyTo::RouteConfiguration),
        ("VIRTUAL_HOST", ApplyTo::VirtualHost),
        ("HTTP_ROUTE", ApplyTo::HttpRoute),
        ("CLUSTER", ApplyTo::Cluster),
        ("EXTENSION_CONFIG", ApplyTo::ExtensionConfig),
        ("LISTENER_FILTER", ApplyTo::ListenerFilter),
        ("BOOTSTRAP", ApplyTo::Bootstrap),
    ];
    let Some(text) = filled(written) else {
        let names: Vec<_> = CHOICES.iter().map(|(name, _)| *name).collect();
        check.invalid(at, format!("missing; write one of {}", names.join(", ")));
        return None;
    };
    check.choice(at, &text, &CHOICES)
}

fn convert_operation(
    written: Option<String>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<PatchOperation> {
    const CHOICES: [(&str, PatchOperation); 8] = [
        ("MERGE", PatchOperation::Merge),
        (
            "MERGE_AND_REPLACE_LIST",
            PatchOperation::MergeAndReplaceList,
        ),
        ("ADD", PatchOperation::Add),
        ("REMOVE", PatchOperation::Remove),
        ("INSERT_BEFORE", PatchOperation::InsertBefore),
        ("INSERT_AFTER", PatchOperation::InsertAfter),
        ("INSERT_FIRST", PatchOperation::InsertFirst),
        ("REPLACE", PatchOperation::Replace),
    ];
    match filled(written) {
        Some(text) => check.choice(at, &text, &CHOICES),
        None => {
            let names: Vec<_> = CHOICES.iter().map(|(name, _)| *name).collect();
            check.invalid(at, format!("missing; write one of {}", names.join(", ")));
            None
        }
    }
}

fn convert_class(written: Option<String>, at: &FieldPath, check: &mut Check<'_>) -> FilterClass {
    let choices = [
        ("UNSPECIFIED", FilterClass::Unspecified),
        ("AUTHN", FilterClass::Authn),
        ("AUTHZ", FilterClass::Authz),
        ("STATS", FilterClass::Stats),
    ];
    filled(written)
        .and_then(|text| check.choice(at, &text, &choices))
        .unwrap_or_default()
}

fn convert_value(
    written: Option<Value>,
    operation: Option<PatchOperation>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<PatchValue> {
    match written {
        None if operation == Some(PatchOperation::Remove) => None,
        None => {
            check.invalid(at, "a value is needed, except to remove something");
            None
        }
        Some(value @ Value::Object(_)) => Some(PatchValue::new(value)),
        Some(_) => {
            check.invalid(at, "an object is needed");
            None
        }
    }
}

/// Whether an operation changes what it is applied to.
fn has_effect(
    apply_to: ApplyTo,
    operation: PatchOperation,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> bool {
    use PatchOperation::{Merge, MergeAndReplaceList, Remove, Replace};
    let what = match (apply_to, operation) {
        (ApplyTo::Bootstrap, Merge) => return true,
        (ApplyTo::Bootstrap, _) => {
            check.invalid(at, "a bootstrap can be merged only; write MERGE");
            return false;
        }
        (ApplyTo::RouteConfiguration, Merge | MergeAndReplaceList) => return true,
        (ApplyTo::RouteConfiguration, _) => "a route table can be merged only; write MERGE",
        (ApplyTo::ExtensionConfig, Merge | MergeAndReplaceList | Remove | Replace) => {
            "an extension's configuration can be added only; write ADD"
        }
        (
            ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::HttpRoute | ApplyTo::Cluster,
            Replace,
        ) => "REPLACE is for filters and virtual hosts; write MERGE, or REMOVE and ADD",
        _ => return true,
    };
    check.warn(at, format!("has no effect: {what}"));
    false
}

/// Whether it is known what is replaced.
fn has_place(
    apply_to: ApplyTo,
    operation: PatchOperation,
    object: &ObjectMatch,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> bool {
    let where_ = match apply_to {
        ApplyTo::HttpFilter => "filterChain.filter.subFilter.name",
        ApplyTo::NetworkFilter => "filterChain.filter.name",
        ApplyTo::ListenerFilter => "listenerFilter",
        _ => return true,
    };
    if operation == PatchOperation::Replace && !names_filter(apply_to, object) {
        let what = format!("has no effect: which filter? Write match.listener.{where_}");
        check.warn(at, what);
        return false;
    }
    true
}

/// Where the order does not count, to insert is to add.
fn effective(apply_to: ApplyTo, operation: PatchOperation) -> PatchOperation {
    use PatchOperation::{Add, InsertAfter, InsertBefore, InsertFirst};
    let ordered = matches!(
        apply_to,
        ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::ListenerFilter | ApplyTo::HttpRoute
    );
    match operation {
        InsertAfter | InsertBefore | InsertFirst if !ordered => Add,
        other => other,
    }
}
