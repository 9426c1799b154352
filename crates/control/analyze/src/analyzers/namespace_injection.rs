//! IST0102: namespaces that say nothing about injection.

use meltemi_model::{FieldPath, Injection, NamespaceName};

use super::is_system;
use crate::context::Context;
use crate::{Analyzer, Code};

pub(crate) const ANALYZER: Analyzer = Analyzer {
    name: "injection.Analyzer",
    description: "Checks conditions related to Istio sidecar injection",
    run,
};

fn run(context: &Context) {
    let root = &context.snapshot().mesh().root_namespace;
    for found in context.namespaces() {
        let name = NamespaceName::new(found.name());
        let says = found.spec.injection != Injection::Unset;
        if says || is_system(&name) || name == *root {
            continue;
        }
        let text = format!(
            "The namespace is not enabled for Istio injection. Run 'kubectl label namespace {name} istio-injection=enabled' to enable it, or 'kubectl label namespace {name} istio-injection=disabled' to explicitly mark it as not needing injection."
        );
        let code = Code::NamespaceNotInjected;
        context.report(code, &found, &FieldPath::root(), text);
    }
}
