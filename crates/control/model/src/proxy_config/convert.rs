//! ProxyConfigs: from written to valid.

use meltemi_api::destination_rule::WorkloadSelector;
use meltemi_api::{FieldPath, proxy_config as api};

use super::ProxyConfigRule;
use crate::check::Check;
use crate::support::{Row, harmless, supported};
use crate::{Kind, Metadata};

const KIND: Kind = Kind::ProxyConfig;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "spec")
        .note("in `up`, when a proxy starts; what goes before what is as in Istio"),
    harmless(KIND, "spec.image").note("the proxy is this program"),
];

/// Checks a ProxyConfig.
pub(crate) fn convert(
    meta: Metadata,
    spec: api::ProxyConfigSpec,
    check: &mut Check<'_>,
) -> ProxyConfigRule {
    let api::ProxyConfigSpec {
        selector,
        concurrency,
        environment_variables,
        image,
    } = spec;
    // ignored: the proxy is this program.
    let api::ProxyImage {
        image_type: _image_type,
    } = image.unwrap_or_default();
    let at = FieldPath::root().field("spec");
    let at_labels = at.field("selector").field("matchLabels");
    let at_environment = at.field("environmentVariables");
    for name in environment_variables.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let what = "a variable has a name without `=`";
            check.invalid(&at_environment.key(name), what);
        }
    }
    ProxyConfigRule {
        meta,
        selector: selector
            .map(|WorkloadSelector { match_labels }| check.labels(&at_labels, match_labels)),
        concurrency: check.count(&at.field("concurrency"), concurrency),
        environment: environment_variables,
    }
}
