//! Telemetries: from written to valid (FEATURES O3).

use meltemi_api::destination_rule::WorkloadSelector;
use meltemi_api::{FieldPath, telemetry as api};
use serde_json::{Value, json};

use super::{AccessLogging, Telemetry, WorkloadMode};
use crate::check::{Check, filled};
use crate::envoy_filter::convert_target;
use crate::support::{Row, rejected, supported};
use crate::{Kind, Labels, Metadata};

const KIND: Kind = Kind::Telemetry;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec"),
    supported(KIND, "spec.targetRefs").note("kind Gateway of gateway.networking.k8s.io"),
    rejected(KIND, "spec.tracing"),
    rejected(KIND, "spec.metrics").note("the provider prometheus as such is accepted"),
    supported(KIND, "spec.accessLogging[].filter").note("CEL"),
];

/// Checks a Telemetry.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::TelemetrySpec,
    check: &mut Check<'_>,
) -> Telemetry {
    let api::TelemetrySpec {
        selector,
        target_ref,
        target_refs,
        tracing,
        metrics,
        access_logging,
    } = spec;
    let at = FieldPath::root().field("spec");
    let at_labels = at.field("selector").field("matchLabels");
    let selector = selector
        .map(|WorkloadSelector { match_labels }| check.labels(&at_labels, match_labels))
        .filter(|it: &Labels| !it.is_empty());
    let mut gateways = Vec::new();
    if let Some(target) = target_ref {
        gateways.extend(convert_target(target, &at.field("targetRef"), &meta, check));
    }
    let at_targets = at.field("targetRefs");
    for (index, target) in target_refs.into_iter().enumerate() {
        gateways.extend(convert_target(
            target,
            &at_targets.index(index),
            &meta,
            check,
        ));
    }
    if selector.is_some() && !gateways.is_empty() {
        check.invalid(&at_targets, "cannot stand beside selector; write one");
    }
    for index in 0..tracing.len() {
        check.unsupported(&at.field("tracing").index(index), "`tracing`");
    }
    for (index, entry) in metrics.iter().enumerate() {
        if !says_nothing_new(entry) {
            check.unsupported(&at.field("metrics").index(index), "`metrics`");
        }
    }
    let at_logging = at.field("accessLogging");
    let entries = access_logging.into_iter().enumerate();
    Telemetry {
        selector,
        gateways,
        access_logging: entries
            .map(|(index, it)| convert_logging(it, &at_logging.index(index), check))
            .collect(),
        meta,
    }
}

/// Metrics are there for Prometheus anyway.
fn says_nothing_new(metrics: &Value) -> bool {
    *metrics == json!({}) || *metrics == json!({"providers": [{"name": "prometheus"}]})
}

fn convert_logging(
    written: api::AccessLogging,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> AccessLogging {
    let api::AccessLogging {
        matching,
        providers,
        disabled,
        filter,
    } = written;
    let choices = [
        ("CLIENT_AND_SERVER", WorkloadMode::ClientAndServer),
        ("CLIENT", WorkloadMode::Client),
        ("SERVER", WorkloadMode::Server),
    ];
    let at_mode = at.field("match").field("mode");
    let mode = matching.and_then(|api::LogSelector { mode }| filled(mode));
    let at_providers = at.field("providers");
    let mut names = Vec::new();
    for (index, api::ProviderRef { name }) in providers.into_iter().enumerate() {
        match filled(name) {
            Some(name) => names.push(name),
            None => check.invalid(&at_providers.index(index).field("name"), "a name is needed"),
        }
    }
    let at_expression = at.field("filter").field("expression");
    let expression = filter.and_then(|api::LogFilter { expression }| filled(expression));
    if let Some(expression) = &expression {
        check_expression(expression, &at_expression, check);
    }
    AccessLogging {
        mode: mode
            .and_then(|text| check.choice(&at_mode, &text, &choices))
            .unwrap_or_default(),
        providers: names,
        disabled: disabled.unwrap_or_default(),
        filter: expression,
    }
}

/// An expression that cannot be one would cost the proxy the whole listener: brackets and quotes have
/// to be closed.
fn check_expression(text: &str, at: &FieldPath, check: &mut Check<'_>) {
    let mut open = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                let mut closed = false;
                while let Some(next) = characters.next() {
                    match next {
                        '\\' => {
                            characters.next();
                        }
                        next if next == character => {
                            closed = true;
                            break;
                        }
                        _ => {}
                    }
                }
                if !closed {
                    check.invalid(at, format!("a quote {character} is not closed"));
                    return;
                }
            }
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(character) => {
                check.invalid(at, format!("`{character}` closes nothing"));
                return;
            }
            _ => {}
        }
    }
    if let Some(missing) = open.last() {
        check.invalid(at, format!("`{missing}` is missing"));
    }
}
