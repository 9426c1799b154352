//! All analyzers, and the one way to run them.
//!
//! In: documents. Out: every message, the worst first, then by file and line.

use meltemi_api::Document;
use meltemi_model::{Defaults, convert};

use crate::context::{Context, Resource};
use crate::{Message, analyzers as all, schema};

/// Looks at one thing.
pub struct Analyzer {
    /// Its name, such as `virtualservice.DestinationHostAnalyzer`; those of Istio where it has one.
    pub name: &'static str,
    /// What it looks at, in a sentence.
    pub description: &'static str,
    pub(crate) run: fn(&Context),
}

/// Every analyzer, by name.
pub fn analyzers() -> &'static [Analyzer] {
    &[
        all::destination_rule_subsets::ANALYZER,
        all::gateway_conflicts::ANALYZER,
        all::gateway_credentials::ANALYZER,
        all::gateway_ports::ANALYZER,
        all::namespace_injection::ANALYZER,
        all::service_ports::ANALYZER,
        all::service_entry_addresses::ANALYZER,
        all::service_entry_protocols::ANALYZER,
        all::sidecar_selectors::ANALYZER,
        all::virtual_service_hosts::ANALYZER,
        all::virtual_service_destinations::ANALYZER,
        all::virtual_service_subsets::ANALYZER,
        all::virtual_service_gateways::ANALYZER,
        all::virtual_service_matches::ANALYZER,
    ]
}

/// Analyzes the resources that these documents describe. Invalid ones are told as such and left out
/// of the rest.
pub fn analyze(documents: &[Document], defaults: &Defaults) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut resources = Vec::new();
    for document in documents {
        match convert(document, defaults) {
            Ok(config) => resources.push(Resource {
                document: document.clone(),
                config,
            }),
            Err(problems) => messages.extend(problems.into_iter().filter_map(schema::message)),
        }
    }
    let assumed = all::gateway_ports::default_gateway(&resources);
    let context = Context::new(resources, assumed);
    for analyzer in analyzers() {
        (analyzer.run)(&context);
    }
    messages.extend(context.into_messages());
    messages.sort_by(|a, b| {
        (b.level().cmp(&a.level()))
            .then_with(|| a.code.cmp(&b.code))
            .then_with(|| (&a.file, a.line, &a.text).cmp(&(&b.file, b.line, &b.text)))
    });
    messages
}
