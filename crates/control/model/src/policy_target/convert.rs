//! What a policy is attached to: from written to valid.

use meltemi_api::FieldPath;
use meltemi_api::authorization_policy::PolicyTargetReference;
use meltemi_api::destination_rule::WorkloadSelector;

use super::{GatewayApi, GatewayTarget, PolicyTarget};
use crate::check::{Check, filled};

/// Checks `selector`, `targetRef` and `targetRefs` of the spec at `at`.
pub(crate) fn convert(
    selector: Option<WorkloadSelector>,
    target_ref: Option<PolicyTargetReference>,
    target_refs: Vec<PolicyTargetReference>,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> PolicyTarget {
    let at_refs = at.field("targetRefs");
    if target_ref.is_some() && !target_refs.is_empty() {
        check.invalid(
            &at.field("targetRef"),
            "`targetRefs` is there too; keep that",
        );
    }
    let written: Vec<_> = match target_ref {
        Some(it) => vec![(at.field("targetRef"), it)],
        None => {
            let numbered = target_refs.into_iter().enumerate();
            numbered.map(|(i, it)| (at_refs.index(i), it)).collect()
        }
    };
    if let (Some(_), Some((at, _))) = (&selector, written.first()) {
        check.invalid(at, "`selector` is there too; keep one of the two");
    }
    if written.is_empty() {
        let at_labels = at.field("selector").field("matchLabels");
        let labels = selector
            .map(|WorkloadSelector { match_labels }| check.labels(&at_labels, match_labels));
        return PolicyTarget::Workloads(labels.unwrap_or_default());
    }
    let targets = written.into_iter();
    PolicyTarget::Gateways(
        targets
            .filter_map(|(at, it)| convert_reference(it, &at, check))
            .collect(),
    )
}

fn convert_reference(
    written: PolicyTargetReference,
    at: &FieldPath,
    check: &mut Check<'_>,
) -> Option<GatewayTarget> {
    let PolicyTargetReference {
        group,
        kind,
        name,
        namespace,
    } = written;
    if let Some(namespace) = filled(namespace).filter(|it| it != check.namespace.as_str()) {
        let what = format!("`{namespace}` is not the policy's namespace, and must be");
        check.invalid(&at.field("namespace"), what);
    }
    let name = filled(name);
    if name.is_none() {
        check.invalid(
            &at.field("name"),
            "write the name of what the policy is attached to",
        );
    }
    let group = group.unwrap_or_default();
    let kind = kind.unwrap_or_default();
    let api = match (group.as_str(), kind.as_str()) {
        ("gateway.networking.k8s.io", "Gateway") => GatewayApi::Kubernetes,
        ("networking.istio.io", "Gateway") => GatewayApi::Istio,
        ("" | "core", "Service")
        | ("networking.istio.io", "ServiceEntry")
        | ("gateway.networking.k8s.io", "GatewayClass") => {
            let what = format!("{kind}, which is for waypoints,");
            check.unsupported(&at.field("kind"), &what);
            return None;
        }
        _ => {
            let what = format!(
                "`{kind}` of `{group}` takes no policy; write Gateway of gateway.networking.k8s.io"
            );
            check.invalid(&at.field("kind"), what);
            return None;
        }
    };
    Some(GatewayTarget {
        api,
        name: name?.into(),
    })
}
